"""The face without `await`: the async one's own answers, from a script, a thread or within a running loop."""

import ast
import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import assert_type, get_args, get_type_hints

import anyio.to_thread
import pytest

import kbchat
import kbchat.sync
from kbchat.testing.model_server import ModelServer, Script

ROOT = Path(__file__).parent.parent
KEYS = "Keys are rotated every 90 days by the service's owner."


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[kbchat.sync.KnowledgeBase]:
    with kbchat.sync.KnowledgeBase(tmp_path) as kb:
        yield kb


def filled(kb: kbchat.sync.KnowledgeBase) -> kbchat.sync.KnowledgeSpace:
    space = kb.create_space("handbook", exist_ok=True)
    space.ingest(kbchat.TextDocument(name="keys", text=KEYS))
    return space


def test_the_face_is_what_would_be_written() -> None:
    """The committed face has every public method of the async one, with its signature and docstring."""
    subprocess.run([sys.executable, "tools/sync_face.py", "--check"], cwd=ROOT, check=True, timeout=180)


def test_it_is_there_without_being_imported() -> None:
    """`import kbchat` is enough, and loads it when it is used."""
    code = "import sys, kbchat; assert 'kbchat.sync' not in sys.modules; print(kbchat.sync.KnowledgeBase.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True)
    assert ran.stdout == "KnowledgeBase\n"


def test_things_of_this_face_are_taken(kb: kbchat.sync.KnowledgeBase) -> None:
    """A space where its name or id is, and a document."""
    space = filled(kb)
    assert space.info.document_count == 1
    assert kb.retrieve("How often are keys rotated?", spaces=[space])[0].name == "keys"
    assert space.delete_document(space.documents()[0]).name == "keys"
    assert kb.delete_space(space).document_count == 0


def test_every_argument_arrives(kb: kbchat.sync.KnowledgeBase) -> None:
    """Those that a method takes by name as well: a stage that is chosen is, and one that there is not is refused."""
    space = filled(kb)
    asked = "How often are keys rotated?"
    for retrieve in (space.retrieve, partial(kb.retrieve, spaces=[space])):
        assert [it.dense is None for it in retrieve(asked, strategy="lexical")] == [True]
    assert space.explain(asked, strategy="ranks").strategy == "ranks"
    for ask in (space.chat, space.stream, partial(kb.chat, spaces=[space]), partial(kb.stream, spaces=[space])):
        with pytest.raises(kbchat.errors.InvalidInputError, match="strategy: 'guess' is unknown"):
            ask(asked, strategy="guess")
    with pytest.raises(TypeError, match=r"retrieve\(\) has no argument 'stratgy'"):
        space.retrieve(asked, stratgy="lexical")  # type: ignore[call-arg]


class Backwards:
    """A reranker that likes what is far behind."""

    name = "backwards"

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        return [at / len(texts) for at in range(len(texts))]

    async def aclose(self) -> None:
        pass


def test_parts_of_ones_own_are_used(tmp_path: Path) -> None:
    """A reranker, as in the async face."""
    with kbchat.sync.KnowledgeBase(tmp_path, reranker=Backwards()) as kb:
        assert filled(kb).retrieve("How often are keys rotated?")[0].rerank == 0.0


def test_nothing_here_needs_await(kb: kbchat.sync.KnowledgeBase) -> None:
    """No public member is a coroutine function, nor is anything that has some what it holds or returns."""
    from kbchat.sync import calls, face

    tree = ast.parse(Path(face.__file__).read_text())
    typed = next(node for node in tree.body if isinstance(node, ast.If))  # what is imported for types only
    names = {**vars(calls), **vars(face)}
    exec(compile(ast.Module(typed.body, []), face.__file__, "exec"), names)
    for kind in (getattr(kbchat.sync, name) for name in kbchat.sync.__all__):
        for name, member in inspect.getmembers(kind):
            if name.startswith("_"):
                continue
            function = member.fget if isinstance(member, property) else member
            assert not inspect.iscoroutinefunction(function), f"{kind.__name__}.{name}"
            returned = get_type_hints(function, names, {"list": list}).get("return")
            for each in (returned, *get_args(returned)):
                assert awaited(each) == [], f"{kind.__name__}.{name} returns {each}"
    assert kb.conversations.list() == []
    assert kb.conversations.count() == 0
    for name in ("keys", "conversations", "settings", "default_model"):
        assert awaited(type(getattr(kb, name))) == []


def awaited(kind: object) -> list[str]:
    return [
        name
        for name, member in (inspect.getmembers(kind) if isinstance(kind, type) else ())
        if not name.startswith("_") and (inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member))
    ]


def test_a_whole_way(kb: kbchat.sync.KnowledgeBase) -> None:
    """Documents in, an answer with its references out, without a single await."""
    space = filled(kb)
    answer = space.chat("How often are keys rotated?")
    assert_type(answer, kbchat.Answer)
    assert "90 days" in answer.text
    (reference,) = answer.references
    text = space.get_document("keys").text
    assert text is not None
    assert text[reference.start : reference.end] == reference.content
    assert [it.name for it in kb.list_spaces()] == ["handbook"]
    assert space.retrieve("rotated keys")[0].name == "keys"
    assert kb.default_model == kb.models()[0]
    assert kb.delete_space("handbook").name == "handbook"


def test_events_stream(kb: kbchat.sync.KnowledgeBase) -> None:
    """A plain `for` sees the same events, in the same order, and an answer can be streamed once."""
    stream = filled(kb).stream("How often are keys rotated?")
    kinds = [type(event).__name__ for event in stream]
    assert kinds[0] == "Retrieved"
    assert "Delta" in kinds
    assert kinds[-2:] == ["References", "Done"]
    with pytest.raises(RuntimeError, match="ask again"):
        next(iter(stream))


def test_watching_a_folder(kb: kbchat.sync.KnowledgeBase, tmp_path: Path) -> None:
    """A plain `for` sees each report; leaving the block ends the watching."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "keys.md").write_text(KEYS)
    space = kb.create_space("watched")
    with space.watch(folder) as reports:
        assert_type(next(iter(reports)), kbchat.IngestReport)
    assert [it.name for it in space.documents()] != []


def test_errors_come_out_as_they_are(kb: kbchat.sync.KnowledgeBase) -> None:
    """An error of the async face is raised by the call that caused it, also in mid-stream."""
    with pytest.raises(kbchat.errors.SpaceNotFoundError):
        kb.get_space("nothing")
    with pytest.raises(kbchat.errors.ModelNotFoundError):
        filled(kb).stream("?", model="nothing")
    with pytest.raises(kbchat.errors.InvalidInputError):
        list(kb.create_space("other").stream(" "))


def test_within_a_running_loop(tmp_path: Path) -> None:
    """A notebook's loop is always running; the calls have their own."""
    code = f"""
import asyncio, kbchat, kbchat.sync

async def cell():
    kb = kbchat.sync.KnowledgeBase({str(tmp_path)!r})
    space = kb.create_space("handbook")
    space.ingest(kbchat.TextDocument(name="keys", text={KEYS!r}))
    events = list(space.stream("How often are keys rotated?"))
    print("".join(event.text for event in events if isinstance(event, kbchat.Delta)))

asyncio.run(cell())
"""
    assert "90 days" in run(code)


def run(code: str) -> str:
    """What a new interpreter prints; it must end by itself, without a warning."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_several_threads(kb: kbchat.sync.KnowledgeBase) -> None:
    """Threads share one object."""
    space = filled(kb)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(space.chat("How often?").text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert len(answers) == 4


async def test_leaving_a_stream_stops_the_model(tmp_path: Path) -> None:
    """`with` ends the generation at once, and so does dropping the iterator."""
    async with ModelServer(Script(forever=True)) as server:
        settings = kbchat.Settings(data_dir=tmp_path, llm_base_url=server.base_url, llm_model="m")

        def leave() -> None:
            with kbchat.sync.KnowledgeBase(settings=settings) as kb:
                with kb.stream("Hello?", spaces=None) as events:
                    next(iter(events))
                for _ in kb.stream("Hello?", spaces=None):
                    break

        await anyio.to_thread.run_sync(leave)
        for request in server.requests:
            await request.finished.wait()
        assert [request.disconnected.is_set() for request in server.requests] == [True, True]


def test_closed(tmp_path: Path) -> None:
    """After closing nothing is left running, closing again does nothing, and a call says what happened."""
    kb = kbchat.sync.KnowledgeBase(tmp_path)
    space = kb.create_space("handbook")
    kb.close()
    kb.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "kbchat"]
    with pytest.raises(RuntimeError, match="closed"):
        space.documents()


def test_a_space_keeps_its_base_open(tmp_path: Path) -> None:
    """Who holds only the space, or only the stream, can go on using it; dropping it closes all."""
    space = filled(kbchat.sync.KnowledgeBase(tmp_path))
    assert list(space.stream("How often are keys rotated?"))
    del space


def test_the_program_can_end(tmp_path: Path) -> None:
    """A script that closes nothing ends all the same, without a word."""
    code = f"import kbchat.sync; kb = kbchat.sync.KnowledgeBase({str(tmp_path)!r}); kb.create_space('a'); print('ok')"
    assert run(code) == "ok\n"
