"""What `kbchat bench` and `kbchat tune` find out before they run, what they leave out, and what they compare."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import kbchat
from commands import Ran, check_mistake, ran
from kbchat.chunking import Splitting
from kbchat.cli.exits import Exit
from kbchat.inputs import RetrievalOptions
from kbchat.models import Reference
from kbchat.settings import Settings
from kbchat.tuning import grids, plots, records, sets, trials
from upstream import Exchange, upstream

CORPUS = {
    "keys": "Keys are rotated every 90 days by the owner of the service.",
    "lunch": "Lunch is served between noon and two on the third floor.",
    "travel": "Trains are booked by the travel desk, flights by the traveller.",
}
QUESTIONS = {"q1": "How often are keys rotated?", "q2": "When is lunch served?", "q3": "Who books trains?"}
JUDGED = {"q1": "keys", "q2": "lunch", "q3": "travel"}
Run = Callable[[str], Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `kbchat` in this process, in a folder with the set `beir` and the questions `asked.jsonl`."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "beir")
    lines = [{"question": text, "documents": [f"{JUDGED[key]}.md"]} for key, text in QUESTIONS.items()]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return lambda line: ran(line, capsys)


@pytest.fixture
def handbook(run: Run, tmp_path: Path) -> Run:
    """The same, with a space `handbook`."""
    for name, text in CORPUS.items():
        (tmp_path / f"{name}.md").write_text(text)
    assert run("ingest handbook keys.md lunch.md travel.md").code == Exit.DONE
    return run


def write(
    folder: Path,
    corpus: dict[str, str] = CORPUS,
    questions: dict[str, str] = QUESTIONS,
    judged: dict[str, str] = JUDGED,
) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", questions)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in rows.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    lines = ["query-id\tcorpus-id\tscore", *(f"{key}\t{document}\t1" for key, document in judged.items())]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


async def embed(exchange: Exchange) -> None:
    """An embedding server for models whose name begins with `m`: by letters, so that texts are told apart."""
    if not exchange.request["model"].startswith("m"):
        await exchange.status(404, '{"error": {"message": "no such model"}}')
        return
    texts = exchange.request["input"]
    vectors = [[1.0 + text.lower().count(letter) for letter in "aeiklmnorst"] for text in texts]
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    await exchange.status(200, json.dumps({"data": data}))


def served(
    run: Run, monkeypatch: pytest.MonkeyPatch, *lines: str, delay: float = 0.0
) -> tuple[list[Ran], list[list[str]]]:
    """What commands do beside an embedding server, and the texts of each request. Questions take `delay` seconds."""

    async def behave(exchange: Exchange) -> None:
        if exchange.request["input"][0] in QUESTIONS.values():
            await anyio.sleep(delay)
        await embed(exchange)

    async def with_server() -> tuple[list[Ran], list[list[str]]]:
        async with upstream() as server:
            server.behave = behave
            monkeypatch.setenv("KBCHAT_EMBEDDER_BASE_URL", server.base_url)
            done = [await anyio.to_thread.run_sync(run, line) for line in lines]
            return done, [exchange.request["input"] for exchange in server.exchanges]

    return anyio.run(with_server)


# -- the gate --


def test_a_gate_tells_embedders_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under one label two embedders are two configurations: of several, none is taken for another."""
    sizes = "--chunk-tokens 64,256"
    (made, same, other), _ = served(
        run,
        monkeypatch,
        f"bench beir {sizes} --embedder openai:m --out was.json",
        f"bench beir {sizes} --embedder openai:m --gate was.json",
        f"bench beir {sizes} --gate was.json",
    )
    assert (made.code, same.code) == (Exit.DONE, Exit.DONE), same.err
    check_mistake(
        other, "gate: has no 'structure 64, by static'; recorded are: structure 64, by openai:m; structure 256"
    )


def test_a_gate_tells_thresholds_apart(run: Run) -> None:
    """Of several configurations none is held against one that leaves out what scores less."""
    sizes = "--chunk-tokens 64,256"
    assert run(f"bench beir {sizes} --score-threshold 1 --out was.json").code == Exit.DONE
    told = "gate: has no 'structure 64, by static'; recorded are: structure 64, by static, from 1; "
    check_mistake(run(f"bench beir {sizes} --gate was.json"), told)


def test_a_gate_says_what_it_compares(run: Run) -> None:
    """One configuration against another one passes where it is as good, and both are named."""
    assert run("bench beir --score-threshold 1 --out was.json").code == Exit.DONE
    passed = run("bench beir --gate was.json")
    assert passed.code == Exit.DONE
    assert passed.err == (
        "kbchat: the gate compares other configurations: structure 256, by static, is held against structure 256, "
        "by static, from 1\n"
    )


def test_a_gate_is_of_the_same_command(handbook: Run) -> None:
    """What `kbchat tune` wrote is told to be that."""
    tuned = handbook("tune handbook --questions asked.jsonl --chunk-tokens 256 --out tuned.json")
    assert tuned.code == Exit.DONE
    check_mistake(handbook("bench beir --gate tuned.json"), "gate: tuned.json is of `kbchat tune`, not of")


# -- times --


def test_a_questions_vector_counts_in_every_configurations_time(handbook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it is made once in a run, and was kept by the last one."""
    line = (
        "tune handbook --questions asked.jsonl --embedder openai:m --chunk-tokens 64,256 --strategy dense "
        "--cache kept.sqlite --json"
    )
    monkeypatch.setenv("KBCHAT_EMBEDDER", "openai:m")
    monkeypatch.setenv("KBCHAT_CHUNK_TOKENS", "64")
    monkeypatch.setenv("KBCHAT_STRATEGY", "dense")
    runs, requests = served(handbook, monkeypatch, line, line, delay=0.2)
    for tuned in runs:
        assert tuned.code == Exit.DONE, tuned.err
        times = {result["label"].partition(", top")[0]: result["p50_ms"] for result in tuned.json["results"]}
        assert min(times["structure 64, dense"], times["structure 256, dense"]) >= 200
    asked = [text for texts in requests for text in texts if text in QUESTIONS.values()]
    assert sorted(asked) == sorted([*QUESTIONS.values()] * 2)


# -- what is found out first --


@pytest.mark.parametrize("command", ["bench beir", "tune handbook --questions asked.jsonl"])
def test_a_later_embedder_is_tried_out_first(handbook: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """What it cannot do is told before anything is embedded for the results of the others."""
    line = f"{command} --embedder openai:m,openai:gone --chunk-tokens 256"
    monkeypatch.setenv("KBCHAT_EMBEDDER", "openai:m")
    (failed,), requests = served(handbook, monkeypatch, line)
    assert failed.code == Exit.FAILED
    assert "openai:gone" in failed.err
    assert [text for texts in requests for text in texts if text in CORPUS.values()] == []


def test_a_cache_is_opened_first(handbook: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where only a later embedder uses it: a file that is none of ours is told before anything is tried."""
    (tmp_path / "kept.sqlite").write_bytes(b"no database" * 100)
    line = "tune handbook --questions asked.jsonl --embedder static,openai:m --chunk-tokens 256 --cache kept.sqlite"
    asked: list[str] = []

    async def put(self: trials.Asked, question: str, configuration: grids.Configuration) -> list[Reference]:
        asked.append(question)
        return await ask(self, question, configuration)

    ask = trials.Asked.put
    monkeypatch.setattr(trials.Asked, "put", put)
    (failed,), _ = served(handbook, monkeypatch, line)
    check_mistake(failed, "cache: kept.sqlite cannot be used: file is not a database; name another file")
    assert asked == []


# -- what cannot be --


def test_overlaps_that_do_not_fit_are_left_out(handbook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pairs that are possible are tried, the others named; also where they come of the settings."""
    monkeypatch.setenv("KBCHAT_CHUNK_OVERLAP", "150")
    tuned = handbook("tune handbook --questions asked.jsonl")
    assert tuned.code == Exit.DONE, tuned.err
    assert "kbchat: not tried, because an overlap must be smaller than its chunk: structure 128/150\n" in tuned.err
    assert "structure 400/150, top " in tuned.out
    benched = handbook("bench beir --chunk-tokens 64,256 --chunk-overlap 16,64")
    assert "smaller than its chunk: structure 64/64\n" in benched.err
    assert "structure 64/16" in benched.out
    check_mistake(handbook("bench beir --chunk-tokens 64 --chunk-overlap 64"), "chunk_overlap: overlap must be smaller")
    check_mistake(handbook("bench beir --chunk-tokens 64 --chunk-overlap 0,-1"), "chunk_overlap: ")
    grid = grids.Grid(overlaps=[0, 300])
    assert [each.label for each in grid.configurations(Splitting(), Settings(), top_k=5)] == ["structure 256"]
    assert grid.left_out(Splitting()) == ["structure 256/300"]


def test_ids_need_not_be_names(run: Run, tmp_path: Path) -> None:
    """A document whose id no document of a space can have is found like any other."""
    odd = {"x" * 300: CORPUS["keys"], "a\u2028b": CORPUS["lunch"], "document 1": CORPUS["travel"]}
    keys = dict(zip(QUESTIONS, odd, strict=True))
    write(tmp_path / "odd", corpus=odd, judged={key: name for key, name in keys.items() if "\u2028" not in name})
    benched = run("bench odd --json")
    assert (benched.code, benched.err) == (Exit.DONE, "")
    (result,) = benched.json["results"]
    assert (result["documents"], result["failed"], result["figures"]["hit@10"]["mean"]) == (3, 0, 1.0)
    assert result["figures"]["ndcg@10"]["mean"] == 1.0


def test_documents_that_fail_are_told_with_their_reasons(run: Run, tmp_path: Path) -> None:
    """Also with `--json`, the first few of them; where all fail there is nothing to measure."""
    bad = {f"bad{n}": "a\0b" for n in range(5)}
    write(tmp_path / "some", corpus={**CORPUS, **bad})
    benched = run("bench some --json")
    assert benched.code == Exit.DONE
    assert "documents that could not be taken in, so that nothing finds them: 5, such as 'bad0': " in benched.err
    assert benched.err.count("NUL") == trials.TOLD
    write(tmp_path / "none", corpus=dict.fromkeys(CORPUS, "a\0b"))
    check_mistake(run("bench none"), "dataset: none: no chunk could be made of it; 'keys': ")


def test_a_question_that_cannot_be_asked_is_found_when_it_is_read(handbook: Run, tmp_path: Path) -> None:
    """File, line and id, or the field, before anything is indexed."""
    write(tmp_path / "bad", questions={**QUESTIONS, "q3": "Who\0?"})
    check_mistake(handbook("bench bad"), "queries.jsonl, line 3: question 'q3': holds a NUL character at position 3")
    line = {"question": "Who\0?", "documents": ["keys.md"]}
    (tmp_path / "bad.jsonl").write_text(json.dumps(line))
    check_mistake(handbook("tune handbook --questions bad.jsonl"), "bad.jsonl, line 1: question: holds a NUL character")


# -- plots --


def test_a_line_joins_what_differs_in_size_alone(tmp_path: Path) -> None:
    """Ways to ask, embedders and overlaps have lines of their own; so has a `top_k` that was tried with each size."""
    given = sets.read(write(tmp_path / "set"))
    ways = {"strategy": ["hybrid", "dense"]}
    grid = grids.Grid(sizes=[256, 64], overlaps=[0, 8], embedders=["static", "openai:m"], options=ways)
    tried = grid.configurations(Splitting(), Settings(), top_k=10)
    ran = [trials.Trial(each, 1, 1, 0, 0.1, {"ndcg@10": [0.5]}, [0.1]) for each in tried]
    results = records.record(given, ran, embedder="static", measure="ndcg@10").results
    drawn = plots.lines(results)
    assert {name: [each.chunk_tokens for each in line] for name, line in drawn.items()} == {
        f"structure{overlap}{embedder}{strategy}": [64, 256]
        for overlap in ("", "/8")
        for embedder in ("", ", by openai:m")
        for strategy in ("", ", dense")
    }

    def tuned(*tops: tuple[int, int]) -> list[records.Result]:
        sized = [grids.Configuration(Splitting(max_tokens=size), RetrievalOptions(top_k=top)) for size, top in tops]
        trial = [trials.Trial(each, 1, 1, 0, 0.1, {"ndcg": [0.5]}, [0.1]) for each in sized]
        return [records.result_of(each, each.configuration.full_label) for each in trial]

    assert list(plots.lines(tuned((64, 20), (256, 5)))) == ["structure"]
    assert list(plots.lines(tuned((64, 3), (256, 3), (64, 5), (256, 5)))) == ["structure, top 3", "structure, top 5"]


@pytest.mark.parametrize("name", ["手册", "\U00013000 $a^{$"])
def test_a_plot_of_any_name_is_drawn_without_a_word(tmp_path: Path, name: str) -> None:
    """By a font that has the script, where there is one; a name is no formula."""
    given = sets.read(write(tmp_path / name))
    tried = grids.Grid(embedders=["static", f"openai:{name}"]).configurations(Splitting(), Settings(), top_k=10)
    ran = [trials.Trial(each, 1, 1, 0, 0.1, {"ndcg@10": [0.5]}, [0.1]) for each in tried]
    record = records.record(given, ran, embedder="static", measure="ndcg@10")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.plot(record, tmp_path / "plot.png", spread=trials.Spread())
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


# -- advice --


def test_a_splitting_of_the_spaces_own_is_changed_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice is the call that does it, and no setting that the space would not look at."""
    filler = " ".join(f"Word{n} is of no use." for n in range(40))
    pages = {f"{n:02}.md": f"Topic{n} is the name of machine {n}. {filler} Topic{59 - n} is off." for n in range(60)}
    for name, text in pages.items():
        (tmp_path / name).write_text(text)

    async def make() -> None:
        async with kbchat.KnowledgeBase("kb-data") as kb:
            own = Splitting(max_tokens=512, separator="--")
            space = await kb.create_space("machines", splitting=own)
            await space.ingest(list(pages))

    anyio.run(make)
    lines = [
        {"question": f"machine {n}", "excerpts": [{"document": f"{n:02}.md", "text": f"is the name of machine {n}."}]}
        for n in range(60)
    ]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tuned = run("tune machines --questions asked.jsonl --measure precision --chunk-tokens 32 --top-k 1")
    assert tuned.code == Exit.DONE, tuned.err
    call = "await kb.update_space('machines', splitting=kbchat.Splitting(max_tokens=32, separator='--'))"
    assert f"In Python:\n{call}\n" in tuned.out
    assert "chunk_tokens =" not in tuned.out
    assert "KBCHAT_CHUNK_TOKENS" not in tuned.out
    assert "Then take the documents in again" in tuned.out
