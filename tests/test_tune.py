"""`kbchat tune`: files of questions, questions made from documents, the search, and how sure its advice is."""

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import Ran, check_mistake, ran
from kbchat.chunking import Splitting
from kbchat.cli.exits import Exit
from kbchat.embedders.cached import CachedEmbedder
from kbchat.embedders.static import StaticEmbedder
from kbchat.errors import InvalidInputError
from kbchat.settings import Settings
from kbchat.testing.model_server import ModelServer, Script
from kbchat.threads import Threads
from kbchat.tuning import advice, grids, making, questions, search
from kbchat.tuning.questions import Judged, Passage

TEXTS = {
    "keys.md": "# Keys\n\nKeys are rotated every 90 days by the owner of the service. Lost keys are revoked at once.",
    "lunch.md": "# Lunch\n\nLunch is served between noon and two on the third floor of the northern building.",
    "travel.md": "# Travel\n\nTrains are booked by the travel desk, flights by the traveller and never by an agent.",
    "zh.md": "# 密钥\n\n服务的所有者每隔九十天更换一次全部加密密钥，并且立即通知安全部门的负责人。",
}
ASKED: list[dict[str, object]] = [
    {"question": "How often are keys rotated?", "documents": {"keys.md": 2, "lunch.md": 0}},
    {"question": "When is lunch served?", "documents": ["lunch.md"]},
    {"question": "Who books trains?", "excerpts": [{"document": "travel.md", "text": "Trains are booked"}]},
    {"question": "Who won the cup in 1954?", "documents": []},
]


Run = Callable[[str], Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `kbchat` in this process, in a folder with the space `handbook` and the file `asked.jsonl`."""
    monkeypatch.chdir(tmp_path)
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text, "utf-8")
    write_lines(tmp_path / "asked.jsonl", ASKED)

    def command(line: str) -> Ran:
        return ran(line, capsys)

    assert command(f"ingest handbook {' '.join(TEXTS)}").code == Exit.DONE
    return command


def write_lines(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), "utf-8")
    return path


# -- files of questions --


def test_what_answers_a_question(tmp_path: Path) -> None:
    """Documents by name or grade; excerpts by text, whatever its white space, or by characters; none at all."""
    lines: list[dict[str, object]] = [
        *ASKED,
        {"question": "Lost?", "excerpts": [{"text": "Lost\n keys  are"}], "synthetic": "rule"},
        {
            "question": "How long?",
            "documents": {"keys.md": 3},
            "excerpts": [{"document": "keys.md", "start": 8, "end": 12}],
        },
    ]
    found = questions.read(write_lines(tmp_path / "q.jsonl", lines), TEXTS, limit=1000)
    assert found[0] == Judged("How often are keys rotated?", {"keys.md": 2.0, "lunch.md": 0.0})
    assert found[2].grades == {"travel.md": 1.0}
    assert [TEXTS[it.document][it.start : it.end] for it in found[2].passages] == ["Trains are booked"]
    assert [judged.is_answerable for judged in found] == [True, True, True, False, True, True]
    assert (found[4].grades, found[4].synthetic) == ({"keys.md": 1.0}, "rule")
    assert found[5] == Judged("How long?", {"keys.md": 3.0}, (Passage("keys.md", 8, 12),))


def test_names_may_be_decomposed(tmp_path: Path) -> None:
    """They name the documents that look the same, whose names are kept composed."""
    name, kept = "cafe\u0301.md", "caf\u00e9.md"
    lines: list[dict[str, object]] = [
        {"question": "Which?", "documents": [name]},
        {"question": "How well?", "documents": {name: 2}},
        {"question": "Where?", "excerpts": [{"document": name, "text": "Coffee"}]},
    ]
    found = questions.read(write_lines(tmp_path / "q.jsonl", lines), {kept: "Coffee is free."}, limit=1000)
    assert [each.grades for each in found] == [{kept: 1.0}, {kept: 2.0}, {kept: 1.0}]
    assert found[2].passages == (Passage(kept, 0, 6),)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            '{"question": "Q?", "documents": ["key.md"]}',
            r"documents: the space holds no document 'key.md'; is it 'keys.md'",
        ),
        ('{"question": "Q?"}', r'documents: says not what answers it; "documents": \[\] means'),
        ('{"question": " ", "documents": []}', r"question: is empty"),
        ('{"question": "' + "x" * 101 + '", "documents": []}', r"question: has 101 characters; at most 100"),
        ('{"documents": []}', r"question: Field required"),
        ('{"question": "Q?", "document": ["keys.md"]}', r"document: Extra inputs are not permitted"),
        ('{"question": "Q?", "documents": {"keys.md": NaN}}', r"finite number"),
        ('{"question": "Q?", "documents": {"keys.md": -1}}', r"documents.keys.md: .*greater than or equal to 0"),
        ('{"question": "Q?", "documents": 7}', r"documents: "),
        ('{"question": "First?", "documents": []}', r"question: is asked in line 1 already"),
        ("{", r"line 3: Invalid JSON"),
        ('{"question": "Q?", "excerpts": [{}]}', r"excerpts.0: has neither text nor start and end"),
        ('{"question": "Q?", "excerpts": [{"text": "nowhere"}]}', r"excerpts.0.text: is not in the space"),
        ('{"question": "Q?", "excerpts": [{"text": "the"}]}', r"excerpts.0.text: stands \d+ times in the space"),
        ('{"question": "Q?", "excerpts": [{"text": " "}]}', r"excerpts.0.text: is blank"),
        ('{"question": "Q?", "excerpts": [{"document": "keys.md", "text": "noon"}]}', r"text: is not in 'keys.md'"),
        (
            '{"question": "Q?", "excerpts": [{"document": "gone", "text": "a"}]}',
            r"excerpts.0.document: the space holds no",
        ),
        ('{"question": "Q?", "excerpts": [{"start": 1, "end": 2}]}', r"start and end go together, with a document"),
        ('{"question": "Q?", "excerpts": [{"document": "keys.md", "start": 5, "end": 5}]}', r"5 to 5 is no stretch"),
        (
            '{"question": "Q?", "excerpts": [{"document": "keys.md", "start": 0, "end": 3, "text": "abc"}]}',
            r"excerpts.0.text: is not what stands there; the document has changed",
        ),
        (
            '{"question": "Q?", "documents": {"keys.md": 0}, "excerpts": [{"document": "keys.md", "text": "90 days"}]}',
            r"excerpts.0: 'keys.md' has the grade 0",
        ),
    ],
)
def test_a_question_that_cannot_be_used(tmp_path: Path, line: str, told: str) -> None:
    """The message names file, line and field."""
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"question": "First?", "documents": ["keys.md"]}}\n\n{line}\n', "utf-8")
    with pytest.raises(InvalidInputError, match=f"q.jsonl, line 3: .*{told}|{told}") as caught:
        questions.read(path, TEXTS, limit=100)
    assert caught.value.field == "questions"
    assert "line 3" in caught.value.message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "q.jsonl: is empty"),
        (b'{"question": "Q?", "documents": []}', "nothing to measure"),
        (b'{"question": "Q?", "documents": {"keys.md": 0}}', "nothing to measure"),
        (b"\xff", "q.jsonl is not UTF-8 at byte 0"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_without_questions(tmp_path: Path, content: bytes | None, told: str) -> None:
    """Nothing is measured in silence."""
    if content is not None:
        (tmp_path / "q.jsonl").write_bytes(content)
    with pytest.raises(InvalidInputError, match=told):
        questions.read(tmp_path / "q.jsonl", TEXTS, limit=100)


# -- questions made from documents --


def test_questions_by_rule(tmp_path: Path) -> None:
    """Words of one sentence without its rarest, in their order, from every document in turn, marked as synthetic; what
    is written is read again, and nothing is overwritten."""
    made = making.by_rule(TEXTS, 4)
    assert {next(iter(each.grades)) for each in made} == {*TEXTS}
    for each in made:
        (passage,) = each.passages
        sentence = TEXTS[passage.document][passage.start : passage.end]
        words = each.text.split()
        assert each.synthetic == making.RULE
        assert 3 <= len(words) <= making.WORDS
        places = [sentence.lower().index(word) for word in words]
        assert places == sorted(places)
    assert making.by_rule(TEXTS, 4) == made
    questions.write(tmp_path / "made.jsonl", made, TEXTS)
    assert questions.read(tmp_path / "made.jsonl", TEXTS, limit=1000) == made
    with pytest.raises(InvalidInputError, match="is there already; name another file"):
        questions.write(tmp_path / "made.jsonl", made, TEXTS)


def test_only_prose_is_asked_about() -> None:
    """Headings, code, table rows, addresses, repeated and short sentences make no questions."""
    texts = {
        "a": "# All about the many kinds of keys and locks.\n\n| one two | three four five six seven. |\n\n"
        "x = {'alpha': beta; gamma == delta_epsilon <zeta>}.\n\nShort one.\n\nEvery page ends with this very sentence.",
        "b": "Every page ends with this very sentence.",
    }
    with pytest.raises(InvalidInputError, match="no question could be made"):
        making.by_rule(texts, 5)


async def test_questions_by_a_model() -> None:
    """Each passage is shown once; the first line that is said is the question; who said it is in the mark."""
    shown: list[str] = []

    async def ask(prompt: str) -> str:
        shown.append(prompt)
        return "" if "Lunch" in prompt else f"\n What of {len(shown)}? \nAs asked."

    done: list[tuple[int, int | None]] = []
    made = await making.by_model(
        TEXTS, 3, model="m", ask=ask, progress=lambda state: done.append((state.done, state.total))
    )
    assert len(set(shown)) == len(shown) == 3
    assert (made.failed, made.reason) == (0, None)
    assert {each.synthetic for each in made.questions} == {"model m"}
    assert all(each.text.startswith("What of ") for each in made.questions)
    passages = [it for each in made.questions for it in each.passages]
    assert all(TEXTS[it.document][it.start : it.end] in "".join(shown) for it in passages)
    assert done[-1] == (3, 3)


def test_a_model_makes_them_where_there_is_one(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`--make-questions` asks the default model; by `--model extractive` it is the rule."""
    import anyio

    async def served() -> None:
        async with ModelServer() as server:
            server.script(*[Script(texts=("Who ", f"asks {n}?")) for n in range(2)])
            monkeypatch.setenv("KBCHAT_LLM_BASE_URL", server.base_url)
            monkeypatch.setenv("KBCHAT_LLM_MODEL", "test")
            ran = await anyio.to_thread.run_sync(run, "tune handbook --make-questions by-model.jsonl --count 2")
            assert ran.code == Exit.DONE, ran.err
            assert "2 synthetic questions, made by the model test, are in by-model.jsonl" in ran.out

    anyio.run(served)
    lines = [json.loads(line) for line in (tmp_path / "by-model.jsonl").read_text().splitlines()]
    assert {line["synthetic"] for line in lines} == {"model test"}
    assert run("tune handbook --make-questions by-rule.jsonl --count 3 --model extractive").code == Exit.DONE
    again = run("tune handbook --make-questions by-rule.jsonl")
    assert (again.code, again.out) == (Exit.MISTAKE, "")
    assert "make_questions: by-rule.jsonl is there already" in again.err


# -- advice --


def noise(seed: int, number: int) -> list[float]:
    chance = random.Random(seed)
    return [chance.random() for _ in range(number)]


def test_a_real_gain_is_advised() -> None:
    """What is better on nearly every question is recommended, surely, and on the other half of them too."""
    base = noise(1, 120)
    given = advice.advise([base, [it + 0.05 for it in base], noise(2, 120)], [1.0, 1.0, 1.0])
    assert (given.best, given.recommended, given.verdict) == (1, 1, "sure")
    assert given.gain.low > 0
    assert given.others_half > 0.02


def test_the_best_of_many_is_often_luck() -> None:
    """Of many configurations that differ by chance alone, the best one is hardly ever recommended."""
    recommended = 0
    for seed in range(40):
        table = [noise(seed * 100 + each, 60) for each in range(20)]
        recommended += advice.advise(table, [1.0] * 20, seed=seed).recommended != 0
    assert recommended <= 6


def test_of_what_is_as_good_the_cheapest_is_advised() -> None:
    """Those that cannot be told from the best are as good, if they are better than what there is."""
    base = noise(3, 100)
    better = [it + 0.05 for it in base]
    given = advice.advise([base, [*better[:-1], better[-1] + 0.01], better, base], [1.0, 9.0, 2.0, 0.1])
    assert (given.best, given.recommended, given.alike) == (1, 2, (1, 2))


def test_a_grid_of_one_is_kept() -> None:
    """There is nothing to choose; nor among equals, of which the present one stays."""
    assert advice.advise([[0.5, 1.0]], [1.0])[:3] == (0, 0, "none")
    assert advice.advise([[0.5, 1.0]] * 3, [1.0] * 3)[:3] == (0, 0, "none")
    assert advice.advise([[1.0], [0.0]], [1.0] * 2).others_half == 0.0


@pytest.mark.parametrize("values", [[], [[]], [[0.5, float("nan")]], [[0.5], [float("inf")]]])
def test_values_that_are_no_numbers_are_told(values: list[list[float]]) -> None:
    """A score of NaN is not averaged away."""
    with pytest.raises(InvalidInputError, match="not finite"):
        advice.advise(values, [1.0] * len(values))


# -- the search --


def test_every_variant_is_tried_once() -> None:
    """The present one first, those that split alike side by side, each once."""
    grid = grids.Grid(sizes=[128, 256], options={"top_k": [5, 3]})
    assert [each.full_label for each in grid.variants(Splitting(), Settings())] == [
        *("structure 256, top 5", "structure 256, top 3", "structure 128, top 5", "structure 128, top 3"),
    ]
    (only,) = grids.Grid().variants(Splitting(max_tokens=64), Settings(score_threshold=0.25))
    assert only.full_label == "structure 64, top 5, from 0.25"


def test_ways_to_ask_are_part_of_the_grid() -> None:
    """Strategies, diversities and what is shown around hits are multiplied; the settings say what is not given."""
    grid = grids.Grid(sizes=[64, 256], options={"strategy": ["hybrid", "dense"], "diversity": [0, 0.25]})
    assert [each.full_label for each in grid.variants(Splitting(), Settings(expand="section"))] == [
        "structure 256, with section, top 5",
        "structure 256, diversity 0.25, with section, top 5",
        "structure 256, dense, with section, top 5",
        "structure 256, dense, diversity 0.25, with section, top 5",
        "structure 64, with section, top 5",
        "structure 64, diversity 0.25, with section, top 5",
        "structure 64, dense, with section, top 5",
        "structure 64, dense, diversity 0.25, with section, top 5",
    ]


def test_weights_belong_to_the_hybrid_strategy() -> None:
    """Each is tried with it, once for all of them with another; the settings say what is not given."""
    settings = Settings(sentence_weight=0.5)
    grid = grids.Grid(options={"strategy": ["hybrid", "lexical"], "dense_weight": [0, 0.3]})
    assert [each.label for each in grid.variants(Splitting(), settings)] == [
        "structure 256, sentence weight 0.5",
        "structure 256, dense weight 0, sentence weight 0.5",
        "structure 256, dense weight 0.3, sentence weight 0.5",
        "structure 256, lexical",
    ]


def test_a_reranker_can_be_left_out() -> None:
    """Where one is set it is asked unless the grid says no; where none is, it cannot be tried."""
    settings = Settings(rerank_model="m", rerank_base_url="http://localhost:1/v1")
    assert [each.label for each in grids.Grid(options={"rerank": [True, False]}).variants(Splitting(), settings)] == [
        *("structure 256, reranked", "structure 256"),
    ]
    unasked = settings.model_copy(update={"rerank": False})
    (now,) = grids.Grid().variants(Splitting(), unasked)
    assert now.options.rerank is False
    with pytest.raises(InvalidInputError, match="rerank: no reranker is configured"):
        grids.Grid(options={"rerank": [True]}).variants(Splitting(), Settings())


def test_embedders_are_tried_one_after_the_other() -> None:
    """The present one first, whatever their order in the grid, so that each is loaded once."""
    grid = grids.Grid(embedders=["openai:m", "static"], sizes=[64, 256])
    assert [each.label for each in grid.variants(Splitting(), Settings())] == [
        *("structure 256", "structure 64", "structure 64, by openai:m", "structure 256, by openai:m"),
    ]


async def test_longer_chunks_show_no_more() -> None:
    """Unless passages are counted by the caller, every configuration shows about as much text."""
    texts = {f"{n}.md": " ".join(f"Sentence {n} {m} is about word{n}x{m}." for m in range(200)) for n in range(4)}
    asked = [Judged("word1x7", {"1.md": 1.0})]
    with tempfile.TemporaryDirectory() as folder:
        wide = grids.Grid(sizes=[32, 128], options={"expand": ["none", "neighbours"]})
        grid = wide.variants(Splitting(max_tokens=64), Settings(top_k=8))
        ran = await search.Search(texts, asked, equal_room=True).run(grid, settings=Settings(), folder=Path(folder))
    assert ran[0].configuration.options.top_k == 8
    shown = {trial.configuration.label: trial.values["tokens"][0] for trial in ran}
    del shown["structure 128, with neighbours"]  # One is too little, two too much.
    assert shown == pytest.approx(dict.fromkeys(shown, shown["structure 64"]), rel=0.35)
    places = {trial.configuration.label: trial.configuration.options.top_k for trial in ran}
    assert places["structure 32, with neighbours"] < places["structure 64"] == 8 < places["structure 32"]


def test_the_space_is_measured_and_left_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row a configuration and a verdict; the space is as before, the trial's folder is gone."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before = run("spaces show handbook --json").json
    ran = run("tune handbook --questions asked.jsonl --chunk-tokens 64,256 --strategy hybrid,ranks --out tuned.json")
    assert ran.code == Exit.DONE
    assert ran.out.startswith("handbook: 4 questions, embedder static, decided by ndcg\n")
    assert "structure 64, top " in ran.out
    assert "structure 64, ranks, top " in ran.out
    assert "Keep the present settings: nothing that was tried is better beyond luck." in ran.out
    assert ran.err == ("kbchat: warning: only 3 questions: small differences cannot be told from luck; ask 200\n")
    assert run("spaces show handbook --json").json == before
    assert list((tmp_path / "temporary").iterdir()) == []
    record = json.loads((tmp_path / "tuned.json").read_text())
    assert (record["verdict"], record["settings"], record["synthetic"]) == ("none", [], 0)
    assert record["results"][0]["figures"]["refused"]["mean"] == 1.0
    assert record["results"][0]["label"] == record["present"] == "structure 256, top 5"


def test_a_recommendation_can_be_pasted(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told to be better beyond luck comes as lines of kbchat.toml that are settings, and as variables."""
    pages = {f"{n:02}.md": f"Topic{n} is the name of machine {n} in hall {n % 7}." for n in range(60)}
    for name, text in pages.items():
        (tmp_path / name).write_text(text)
    halls = {hall: [f"{n:02}.md" for n in range(hall, 60, 7)] for hall in range(7)}
    asked = {f"Which machines are in hall {hall}?": hall for hall in halls}
    asked |= {f"What is Topic{n}, and what else is in its hall?": n % 7 for n in range(20)}
    lines: list[dict[str, object]] = [{"question": text, "documents": halls[hall]} for text, hall in asked.items()]
    write_lines(tmp_path / "halls.jsonl", lines)
    assert run(f"ingest halls {' '.join(pages)}").code == Exit.DONE
    monkeypatch.setenv("KBCHAT_TOP_K", "1")
    ran = run("tune halls --questions halls.jsonl --measure recall --top-k 1,8 --chunk-tokens 256 --plot tuned.png")
    assert ran.code == Exit.DONE, ran.err
    assert "Recommended: structure 256, top 8, for recall +0." in ran.out
    assert "This is hardly luck: p <0.001, allowing for the 2 that were tried." in ran.out
    assert (tmp_path / "tuned.png").read_bytes().startswith(b"\x89PNG")
    pasted = ran.out.partition("In kbchat.toml:\n")[2].partition("\n\n")[0]
    (tmp_path / "kbchat.toml").write_text(pasted)
    monkeypatch.delenv("KBCHAT_TOP_K")
    assert Settings().top_k == 8
    assert "or as variables: KBCHAT_TOP_K=8" in ran.out


def test_synthetic_questions_are_told_of(run: Run, tmp_path: Path) -> None:
    """In every result made with them."""
    assert run("tune handbook --make-questions made.jsonl --count 4").code == Exit.DONE
    ran = run("tune handbook --questions made.jsonl --chunk-tokens 256 --json")
    assert (ran.json["synthetic"], ran.json["measure"]) == (4, "recall")
    assert "synthetic: 4 of 4 questions; these questions were made from the documents" in ran.json["warnings"][0]
    assert "warning: synthetic: 4 of 4" in run("tune handbook --questions made.jsonl --chunk-tokens 256").err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "questions: give either --questions FILE or --make-questions FILE"),
        ("--questions gone.jsonl", "questions: gone.jsonl cannot be read"),
        ("--questions keys.md", "questions: keys.md, line 1: Invalid JSON"),
        ("--questions asked.jsonl --chunk-tokens 3", "chunk_tokens: Input should be greater than or equal to 16"),
        ("--questions asked.jsonl --top-k 0", "top_k: must be between 1 and 1000"),
        ("--questions asked.jsonl --score-threshold high", "score_threshold: 'high' is no list of numbers"),
        ("--questions asked.jsonl --score-threshold 2", "score_threshold: must be between 0 and 1"),
        ("--questions asked.jsonl --strategy whim", "strategy: 'whim' is unknown; use one of: hybrid, dense"),
        ("--questions asked.jsonl --diversity 2", "diversity: must be between 0 and 1"),
        ("--questions asked.jsonl --measure charm", "measure: 'charm' is none of this set's: ndcg, recall"),
        ("--questions asked.jsonl --out nowhere/a.json", "out: nowhere/a.json cannot be written"),
        ("--questions asked.jsonl --plot plot.csv", "plot: plot.csv is no kind of picture"),
    ],
)
def test_a_mistake_is_told_before_anything_is_indexed(run: Run, options: str, told: str) -> None:
    """Exit code 2 and one line that names the argument."""
    check_mistake(run(f"tune handbook {options}"), told)


def test_an_empty_space_has_nothing_to_tune(run: Run) -> None:
    """Neither questions can be made nor asked."""
    assert run("spaces create empty").code == Exit.DONE
    for options in ("--questions asked.jsonl", "--make-questions made.jsonl"):
        ran = run(f"tune empty {options}")
        assert ran.code == Exit.MISTAKE
        assert "space: 'empty' holds no documents; ingest some first" in ran.err


# -- embeddings that are kept --


class Counting(StaticEmbedder):
    """The static embedder, which says how much it was asked."""

    def __init__(self, *, turned: bool = False) -> None:
        super().__init__(threads=Threads())
        self.asked: list[str] = []
        self.turned = turned

    async def embed_documents(self, texts: Any) -> Any:
        self.asked += texts
        vectors = await super().embed_documents(texts)
        return vectors[:, ::-1].copy() if self.turned else vectors


async def test_what_was_embedded_once_is_kept(tmp_path: Path) -> None:
    """In this run and the next one, in the order asked, and for each model apart."""

    async def embed(inner: Counting, texts: list[str]) -> Any:
        cached = CachedEmbedder(inner, tmp_path / "kept.sqlite", threads=Threads())
        await cached.open()
        inner.asked.clear()
        try:
            return await cached.embed_documents(texts), await cached.embed_query(texts[0])
        finally:
            await cached.aclose()

    first, again, other = Counting(), Counting(), Counting(turned=True)
    vectors, query = await embed(first, ["one", "two", "one"])
    assert first.asked == ["one", "two"]
    repeated, _ = await embed(again, ["three", "two", "one"])
    assert again.asked == ["three"]
    assert np.array_equal(repeated[[2, 1, 2]], vectors)
    assert np.array_equal(query, vectors[0])
    await embed(other, ["one"])
    assert other.asked == ["one"]
    await embed(Counting(), ["one"])
    assert (await embed(last := Counting(), ["one", "two"]))[0].shape == (2, 256)
    assert last.asked == []
    (tmp_path / "kept.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InvalidInputError, match=r"cache: .*kept.sqlite cannot be used"):
        await embed(Counting(), ["one"])
