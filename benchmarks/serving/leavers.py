"""Readers that leave at their first word, one after another: `leavers.py PORT PATH COUNT BODY`.

`{number}` in the body is each one's number. Prints one line of JSON: the time, by the machine's own clock, when each
left.
"""

import asyncio
import json
import sys
import time


async def main() -> None:
    port, path, count, body = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    left = []
    for number in range(count):
        asked = body.replace("{number}", str(number)).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(asked)}\r\n\r\n".encode()
            + asked
        )
        await reader.readuntil(b"word-0")
        left.append(time.monotonic())
        writer.close()
    print(json.dumps(left))


asyncio.run(main())
