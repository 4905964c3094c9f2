"""kbchat over HTTP: a thin aiohttp adapter.

app = kbchat_aiohttp.create_app(kb)         # an aiohttp application, to be mounted anywhere
await kbchat_aiohttp.serve(kb)              # or served as it is, until SIGTERM
"""

from kbchat_aiohttp.app import create_app
from kbchat_aiohttp.auth import Authenticate, Principal, Role
from kbchat_aiohttp.errors import InvalidKeyError
from kbchat_aiohttp.serve import serve

__all__ = ["Authenticate", "InvalidKeyError", "Principal", "Role", "create_app", "serve"]
