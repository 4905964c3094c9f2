"""Run a documented Python example as it stands, in the environment of its client: `run_example.py FILE [OLD NEW]…`.

The examples await at the top level, as notebooks do. What they leave in `res` is printed as JSON.
"""

import ast
import asyncio
import inspect
import json
import sys
from pathlib import Path

source = Path(sys.argv[1]).read_text("utf-8")
for old, new in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
    source = source.replace(old, new)
code = compile(source, sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
names: dict[str, object] = {}


async def run() -> None:
    awaited = eval(code, names)
    if inspect.iscoroutine(awaited):
        await awaited
    await names["client"].aclose()  # type: ignore[attr-defined]


asyncio.run(run())
if "res" in names:
    result = names["res"]
    dumped = [item.model_dump() for item in result] if isinstance(result, list) else result.model_dump()  # type: ignore[attr-defined]
    print(json.dumps(dumped))
