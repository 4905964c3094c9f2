"""kbchat over HTTP: a thin aiohttp adapter."""
