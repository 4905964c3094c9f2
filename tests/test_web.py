"""Documents by URL come only from where they may, and end in time; whatever a name, a redirect or a server tries."""

import ipaddress
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

import kbchat
from kbchat.errors import UnreadableDocumentError
from kbchat.ingestion import fetching
from kbchat.loaders import web as documents_by_url
from kbchat.loaders.formats import format_of
from kbchat.loaders.web import Address, WebPolicy, fetch, is_public, suffix_of_url
from made_files import HTML, PHRASE


class Names(AbstractResolver):
    """Resolves names as a test wants, one answer after another."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self.names[host.partition(".")[0]]
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in address.split()
        ]

    async def close(self) -> None:
        pass


def only_the_server(address: Address) -> bool:
    """The test's own server stands for the public internet."""
    return address == ipaddress.ip_address("127.0.0.1")


REDIRECTS = {
    "/moved": "/page",
    "/inside": "http://evil.test:{port}/page",
    "/literal": "http://127.0.0.2/page",
    "/file": "file:///etc/passwd",
    "/round": "/round",
    "/broken": "http://[x",
    "/secret": "http://ann:hunter2@good.test/page",
}


async def redirect(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": REDIRECTS[request.path].format(port=request.url.port)})


async def page(request: web.Request) -> web.StreamResponse:
    return web.Response(text=HTML, content_type="text/html")


async def large(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"x" * 200_000)


async def bomb(request: web.Request) -> web.StreamResponse:
    response = web.Response(body=bytes(50_000_000))
    response.enable_compression()
    return response


async def slow(request: web.Request) -> web.StreamResponse:
    await anyio.sleep(30)
    return web.Response()


async def drip(request: web.Request) -> web.StreamResponse:
    stream = web.StreamResponse()
    await stream.prepare(request)
    while True:
        await stream.write(b"x")
        await anyio.sleep(0.05)


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """A web server with honest and dishonest pages, reached by the name `good.test`."""
    app = web.Application()
    for handler in (page, large, bomb, slow, drip):
        app.router.add_get(f"/{handler.__name__}", handler)
    for path in REDIRECTS:
        app.router.add_get(path, redirect)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://good.test:{runner.addresses[0][1]}"
    await runner.cleanup()


def policy(**changes: object) -> WebPolicy:
    values = {
        "hosts": ("good.test", "*.test"),
        "is_allowed_address": only_the_server,
        "any_port": True,
        "seconds": 10.0,
    }
    return WebPolicy(**{**values, **changes})  # type: ignore[arg-type]


async def test_a_page_is_fetched(server: str) -> None:
    """Also where it moved within what is allowed."""
    names = Names(good=["127.0.0.1"])
    assert (await fetch(f"{server}/page", policy(), resolver=names)).decode() == HTML
    assert (await fetch(f"{server}/moved", policy(), resolver=names)).decode() == HTML


@pytest.mark.parametrize(
    ("url", "suffix", "kind"),
    [
        ("https://a.test/README.md?raw=1", ".md", "markdown"),
        ("https://a.test/t%2Ecsv#part.pdf", ".csv", "csv"),
        ("https://a.rs", "", "text"),
        ("https://a.test/?file=a.json", "", "text"),
        ("http://[x/a.md", "", "text"),
    ],
)
def test_the_path_says_what_a_url_leads_to(url: str, suffix: str, kind: str) -> None:
    """Not its host, which may end like a file, nor what follows."""
    assert suffix_of_url(url) == suffix
    assert format_of(b"# Keys", name=url, suffixes=(suffix_of_url(url),)).name == kind


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/inside", "resolves to an address that is not public"),
        ("/literal", r"127\.0\.0\.2.* is not"),
        ("/file", "only http and https can be fetched"),
        ("/broken", "redirected to what is no URL"),
        ("/secret", "user name or password is refused .*'http://good.test/page'"),
        ("/round", "redirected more than 5 times"),
        ("/large", "larger than the limit of 100,000 bytes"),
        ("/bomb", "larger than the limit of 100,000 bytes"),
        ("/missing", "the server answered 404 Not Found"),
    ],
)
async def test_tricks_of_a_server_are_refused(server: str, path: str, reason: str) -> None:
    """Redirects inside, to files, in circles; bodies without end."""
    names = Names(good=["127.0.0.1"], evil=["127.0.0.2"])
    with pytest.raises(UnreadableDocumentError, match=reason):
        await fetch(f"{server}{path}", policy(max_bytes=100_000), resolver=names)


@pytest.mark.parametrize("path", ["/slow", "/drip"])
async def test_a_slow_server_is_left(server: str, path: str) -> None:
    """One that is silent, and one that sends a byte at a time."""
    with anyio.fail_after(5), pytest.raises(UnreadableDocumentError, match=r"longer than 0.5 s \(url_timeout\)"):
        await fetch(f"{server}{path}", policy(seconds=0.5), resolver=Names(good=["127.0.0.1"]))


async def test_a_name_that_changes_its_address_gains_nothing(server: str) -> None:
    """A connection goes to the address that was checked, and one bad address among good ones is enough."""
    names = Names(good=["127.0.0.1", "127.0.0.2"])
    assert await fetch(f"{server}/page", policy(), resolver=names)
    assert names.asked == ["good.test"]
    with pytest.raises(UnreadableDocumentError, match="not public"):
        await fetch(f"{server}/page", policy(), resolver=names)
    with pytest.raises(UnreadableDocumentError, match="not public"):
        await fetch(f"{server}/page", policy(), resolver=Names(good=["127.0.0.1 10.0.0.1"]))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://elsewhere.org/", "is not allowed; add it to the setting url_hosts"),
        ("http://good.test.evil.org/", "is not allowed"),
        ("http://xgood.org/", "is not allowed"),
        ("ftp://good.test/", "only http and https"),
        ("http://user:secret@good.test/", "user name or password"),
        ("http://good.test:22/", "the port 22 is refused"),
        ("http://good.test:99999/", "not a URL"),
        ("http://[::1/", "not a URL"),
    ],
)
async def test_urls_that_may_not_be_asked(url: str, reason: str) -> None:
    """Nothing is sent."""
    with pytest.raises(UnreadableDocumentError, match=reason):
        await fetch(url, policy(any_port=False), resolver=Names())


@pytest.mark.parametrize("label", ["a.", "a" * 70])
async def test_what_is_no_name_is_one_documents_failure(tmp_path: Path, label: str) -> None:
    """A label that is empty or too long cannot even be asked for; the other documents go in."""
    settings = kbchat.Settings(data_dir=tmp_path, url_hosts=("*.example.org",))
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("web")
        url = f"http://{label}.example.org/"
        report = await space.ingest([url, kbchat.TextDocument(name="n", text=PHRASE)])
    assert (report.added, [it.name for it in report.failed]) == (1, [url])
    assert f"the host '{label}.example.org' is not a name that can be resolved" in report.failed[0].reason


def test_what_is_public() -> None:
    """Private, local, reserved and wrapped addresses are not."""
    inside = "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 "
    inside += "::1 :: fe80::1 fc00::1 ff02::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 2001:db8::1"
    for text in inside.split():
        assert not is_public(ipaddress.ip_address(text)), text
    for text in ("93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"):
        assert is_public(ipaddress.ip_address(text)), text


async def test_urls_are_off_by_default(tmp_path: Path) -> None:
    """They are reported, and the others go in; with an allowed host, a loopback address is still refused."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("web")
        report = await space.ingest(["https://example.org/a.html", kbchat.TextDocument(name="n", text=PHRASE)])
        assert report.added == 1
        assert "fetching documents by URL is off" in report.failed[0].reason
    settings = kbchat.Settings(data_dir=tmp_path / "data", url_hosts=("localhost",))
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        report = await (await kb.get_space("web")).ingest("http://localhost/")
        assert "resolves to an address that is not public" in report.failed[0].reason


class Counted(str):
    """A URL that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        type(self).compared += 1
        return str.__eq__(self, other)


async def test_many_urls_are_told_from_paths_one_by_one(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """By how each begins, in whatever case, and not by a look through all of them for each."""
    (tmp_path / "note.md").write_text(PHRASE)
    urls = [Counted(f"{scheme}://example.org/{number}") for number in range(50) for scheme in ("HTTPS", "Http")]
    report = await space.ingest([*urls, *urls, tmp_path / "note.md"])
    assert (report.added, [it.name for it in report.failed]) == (1, urls)
    assert all("fetching documents by URL is off" in it.reason for it in report.failed)
    assert Counted.compared < 10 * len(urls)


async def test_many_urls_go_in_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more are held than are fetched at once, here; the report and the progress are of all of them."""
    ahead: list[int] = []
    told: list[kbchat.IngestProgress] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        ahead.append(len(ahead) + 1 - (told[-1].done if told else 0))
        number = int(request.query["n"])
        if number in (3, 18):
            raise web.HTTPNotFound
        return web.Response(text="" if number == 19 else f"Page {number}. {PHRASE}")

    app = web.Application()
    app.router.add_get("/page", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    at = f"http://127.0.0.1:{runner.addresses[0][1]}/page?n="
    allowing = partial(WebPolicy, is_allowed_address=only_the_server, any_port=True)
    monkeypatch.setattr(documents_by_url, "WebPolicy", allowing)
    monkeypatch.setattr(fetching, "GROUP_BYTES", 1)
    settings = kbchat.Settings(data_dir=tmp_path, url_hosts=("127.0.0.1",))
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("web")
        urls = [f"{at}{number}" for number in range(20)]
        texts = [kbchat.TextDocument(name=name, text=PHRASE) for name in ("note", "note", urls[17])]
        report = await space.ingest([*urls, *texts, urls[0]], progress=told.append)
        names = [it.name for it in await space.documents() if it.status == "FINISHED"]
        again = await space.ingest(urls)
    await runner.cleanup()
    assert max(ahead[:19]) <= fetching.FETCHES
    twice, empty, gone = "given twice; names are unique in a space", "the document is empty", "the server answered 404"
    failed = {"note": twice, urls[19]: empty, urls[17]: twice, urls[3]: gone, urls[18]: gone}
    assert [it.name for it in report.failed] == list(failed)
    assert all(it.reason.startswith(failed[it.name]) for it in report.failed)
    assert sorted(names) == sorted({"note", *urls} - {urls[3], urls[18], urls[19]})
    assert (report.added, report.chunks) == (len(names), told[-1].chunks)
    assert {it.total for it in told} == {told[-1].done} == {23}
    assert [it.done for it in told] == sorted(it.done for it in told)
    assert (again.added, again.updated, again.unchanged, len(again.failed)) == (0, 1, 16, 3)
