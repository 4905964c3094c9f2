"""What aiohttp alone can do: `bare.py ready PORT DELTAS` writes ready-made frames, `bare.py relay PORT UPSTREAM` passes
the upstream's bytes through. Neither looks at a byte of what it sends."""

import asyncio
import sys

import aiohttp
from aiohttp import web

HEADERS = {"Content-Type": "text/event-stream"}
WRITE_BYTES = 16 * 1024


async def ready(deltas: int) -> web.Application:
    frames = b"".join(
        b'data: {"id":"chatcmpl-7f1d0c3b9a5e4f0c8d2b6a1e","object":"chat.completion.chunk","created":1735689600,'
        b'"model":"bench","choices":[{"index":0,"delta":{"content":" word-%d"},"finish_reason":null}]}\n\n' % number
        for number in range(deltas)
    )
    pieces = [frames[at : at + WRITE_BYTES] for at in range(0, len(frames), WRITE_BYTES)]

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        await response.write(b"data: [DONE]\n\n")
        return response

    return application(handle)


async def relay(upstream: str) -> web.Application:
    client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with client.post(f"{upstream}/chat/completions", data=body) as answer:
            response = web.StreamResponse(headers=HEADERS)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
        return response

    return application(handle)


def application(handle: "web.RequestHandler") -> web.Application:  # type: ignore[type-arg]
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)  # type: ignore[arg-type]
    return app


async def main() -> None:
    what, port, argument = sys.argv[1:]
    app = await (ready(int(argument)) if what == "ready" else relay(argument))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port), backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
