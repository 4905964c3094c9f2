"""One question to a model server over HTTP: JSON goes out, the answer's bytes come back, or why there are none."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kbchat.addresses import check_base_url, without_credentials
from kbchat.refusals import explain, seconds_to_wait

if TYPE_CHECKING:
    import aiohttp


class Unanswered(Exception):  # noqa: N818 - each asker has an error of its own to raise
    """No answer. `may_pass` says whether another try may be answered, `wait` how many seconds the server asked for."""

    def __init__(self, message: str, *, may_pass: bool, wait: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.may_pass = may_pass
        self.wait = wait


class ModelServer:
    """One address on one server. The connection is kept; `aclose` lets go of it. No redirect is followed, so the key
    goes nowhere else.

    `setting` is what users set `base_url` by, `timeout` how many seconds an answer may take, `hints` what to do about
    a status. Raises `SettingsError` for a base URL that is none.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        *,
        setting: str,
        api_key: str | None,
        timeout: float,
        hints: Mapping[int, str],
    ) -> None:
        check_base_url(base_url, setting=setting, api_key=api_key)
        self._url = base_url.rstrip("/") + path
        self._api_key = api_key
        self._timeout = timeout
        self._hints = hints
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes) -> bytes:
        """The answer to a JSON body. Raises `Unanswered`."""
        import aiohttp

        if self._session is None:
            headers = {"Content-Type": "application/json", "User-Agent": "kbchat"}
            if self._api_key:
                headers["Authorization"] = f"Bearer {self._api_key}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
            )
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                answer = await response.read()
                if response.status != 200:
                    raise self._refused(response.status, answer, response.headers.get("Retry-After"))
                return answer
        except TimeoutError as error:
            raise Unanswered(f"its server did not answer within {self._timeout:g} s", may_pass=True) from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"its server at {without_credentials(self._url)} cannot be reached ({error}); is it running?"
            raise Unanswered(message, may_pass=True) from error

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _refused(self, status: int, answer: bytes, retry_after: str | None) -> Unanswered:
        said = explain(answer, key=self._api_key)
        message = f"its server answered {status}: {said}{self._hints.get(status, '')}"
        wait = seconds_to_wait(retry_after) or 0.0
        return Unanswered(message, may_pass=status == 429 or status >= 500, wait=wait)
