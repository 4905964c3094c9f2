"""`kbchat bench`: reading judged sets, trying configurations, the figures and the gate."""

import csv
import json
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Ran, check_mistake, ran
from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.cli.exits import Exit
from kbchat.errors import InvalidInputError
from kbchat.inputs import RetrievalOptions
from kbchat.settings import Settings
from kbchat.tuning import grids, records, sets, trials

CORPUS = {
    "keys": "Keys are rotated every 90 days by the owner of the service.",
    "lunch": "Lunch is served between noon and two on the third floor.",
    "travel": "Trains are booked by the travel desk, flights by the traveller.",
    "leave": "Leave of more than two weeks is agreed with the team first.",
    "laptops": "Laptops are replaced after four years, or when they break.",
    "parking": "Parking is free for bicycles; cars pay by the hour.",
}
QUESTIONS = {
    "q1": "How often are keys rotated?",
    "q2": "When is lunch served?",
    "q3": "Who books trains?",
    "q4": "When are laptops replaced?",
}
JUDGED = [("q1", "keys", "2"), ("q2", "lunch", "1"), ("q3", "travel", "1"), ("q4", "laptops", "1")]


Bench = Callable[..., Ran]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Run `kbchat bench` in this process, in a working folder that holds the set `beir`."""
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path / "beir")

    def run(line: str) -> Ran:
        return ran(f"bench {line}", capsys)

    return run


def write_beir(
    folder: Path,
    corpus: dict[str, str] = CORPUS,
    questions: dict[str, str] = QUESTIONS,
    judged: list[tuple[str, str, str]] = JUDGED,
) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", questions)):
        lines = [json.dumps({"_id": key, "text": text}, ensure_ascii=False) for key, text in rows.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
    lines = ["query-id\tcorpus-id\tscore", *map("\t".join, judged)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_chroma(folder: Path, rows: list[tuple[str, object, str]], texts: dict[str, str]) -> Path:
    (folder / "corpora").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "corpora" / f"{name}.md").write_text(text, "utf-8")
    with (folder / "questions_df.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["question", "references", "corpus_id"])
        table.writerows([question, json.dumps(references), corpus] for question, references, corpus in rows)
    return folder


def excerpt(text: str, content: str) -> dict[str, object]:
    start = text.index(content)
    return {"content": content, "start_index": start, "end_index": start + len(content)}


# -- reading --


def test_beirs_layout(tmp_path: Path) -> None:
    """Title and text are one document; questions that nobody judged, or found nothing relevant for, are left out."""
    folder = write_beir(tmp_path / "set", judged=[*JUDGED[:2], ("q3", "travel", "0")])
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"_id": 7, "title": "Seven", "text": "A text\u2028of two lines.", "metadata": {}}\n\n')
    (dataset,) = sets.read(folder)
    assert dataset.name == "set"
    assert dataset.texts == {**CORPUS, "7": "Seven\n\nA text\u2028of two lines."}
    assert {key: each.grades for key, each in dataset.questions.items()} == {"q1": {"keys": 2.0}, "q2": {"lunch": 1.0}}
    assert dataset.left_out == 2


def test_judgements_may_lie_in_a_folder(tmp_path: Path) -> None:
    """Where there is no qrels.tsv, qrels/test.tsv is read."""
    folder = write_beir(tmp_path / "set")
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    assert len(sets.read(folder)[0].questions) == 4


def test_the_layout_of_chromas_report(tmp_path: Path) -> None:
    """One set a text that is asked about; a question may go over several lines."""
    texts = {"one": "Alpha.\n\nBeta is the second.", "two": "Gamma.", "three": "Nobody asks."}
    rows: list[tuple[str, object, str]] = [
        ("What is\nsecond?", [excerpt(texts["one"], "Beta")], "one"),
        ("What else?", [], "one"),
        ("Third?", [excerpt(texts["two"], "Gamma.")], "two"),
    ]
    one, two = sets.read(write_chroma(tmp_path / "set", rows, texts))
    assert (one.name, two.name, one.left_out) == ("set/one", "set/two", 1)
    assert one.questions == {"0": sets.Question("What is\nsecond?", excerpts=((8, 12),))}
    assert two.texts == {"two": "Gamma."}


@pytest.mark.parametrize("form", ["cafe\u0301", "caf\u00e9"], ids=["decomposed", "composed"])
def test_ids_are_read_composed(tmp_path: Path, form: str) -> None:
    """As the names of documents are kept: whatever form each file has, a hit is found to be the one that was judged."""
    judged = [("q1", "cafe\u0301", "1"), ("q2", "caf\u00e9", "1")]
    (beir,) = sets.read(write_beir(tmp_path / "beir", {form: "Coffee.", **CORPUS}, judged=judged))
    assert "caf\u00e9" in beir.texts
    assert [each.grades for each in beir.questions.values()] == [{"caf\u00e9": 1.0}] * 2
    rows: list[tuple[str, object, str]] = [("What?", [excerpt("Coffee.", "Coffee.")], name) for _, name, _ in judged]
    (chroma,) = sets.read(write_chroma(tmp_path / "chroma", rows, {form: "Coffee."}))
    assert chroma.texts == {"caf\u00e9": "Coffee."}
    assert len(chroma.questions) == 2


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tgone\t1\n", r"qrels.tsv, line 2: names a document 'gone'"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq9\tkeys\t1\n", r"line 2: judges a question 'q9'"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tkeys\tnan\n", r"line 2: the score 'nan' is not a finite"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tkeys\tyes\n", r"line 2: the score 'yes'"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tkeys\n", r"line 2: has not all of query-id, corpus-id, score"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\tkeys\t1\nq1\tkeys\t2\n", r"line 3: .* a second time"),
        ("qrels.tsv", "q1\t0\tkeys\t1\n", r"line 1: its header line lacks query-id, corpus-id, score"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", r"no question has a relevant document"),
        ("qrels.tsv", None, r"holds no judgements"),
        ("corpus.jsonl", "", r"corpus.jsonl: is empty"),
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "a"', r"corpus.jsonl, line 2: .*JSON"),
        ("corpus.jsonl", '{"_id": "a"}', r"line 1: text: Field required"),
        ("corpus.jsonl", '{"_id": "a", "text": ""}\n{"_id": "a", "text": ""}', r"line 2: the id 'a' is there a second"),
        ("corpus.jsonl", None, r"neither corpus.jsonl .* nor questions_df.csv"),
        ("queries.jsonl", None, r"queries.jsonl: there is no such file"),
        ("queries.jsonl", b"\xff\xfe", r"queries.jsonl: is not UTF-8 at byte 0"),
    ],
)
def test_a_set_that_cannot_be_used(tmp_path: Path, file: str, content: str | bytes | None, told: str) -> None:
    """The message names the file, the line, and what is the matter with it."""
    folder = write_beir(tmp_path / "set")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidInputError, match=told) as caught:
        sets.read(folder)
    assert caught.value.field == "dataset"


@pytest.mark.parametrize(
    ("references", "corpus", "told"),
    [
        ([{"content": "Beta", "start_index": 0, "end_index": 4}], "one", "line 2: characters 0 to 4 of its text"),
        ([{"content": "", "start_index": 0, "end_index": 0}], "one", "characters 0 to 0"),
        ([{"content": "Beta"}], "one", "line 2: its references: Field required"),
        ([], "one", "no question has an excerpt"),
        ([], "two", "line 2: names a text 'two'"),
    ],
)
def test_excerpts_that_cannot_be_used(tmp_path: Path, references: object, corpus: str, told: str) -> None:
    """An excerpt that is not where it says would be measured as never found."""
    folder = write_chroma(tmp_path / "set", [("What?", references, corpus)], {"one": "Alpha. Beta."})
    with pytest.raises(InvalidInputError, match=told):
        sets.read(folder)


def test_a_fingerprint_tells_sets_apart(tmp_path: Path) -> None:
    """Another judgement, question or text is another set; the order of the documents is not."""
    first = sets.fingerprint(sets.read(write_beir(tmp_path / "a")))
    assert sets.fingerprint(sets.read(write_beir(tmp_path / "b", dict(reversed(CORPUS.items()))))) == first
    others = [
        write_beir(tmp_path / "c", {**CORPUS, "keys": "Keys."}),
        write_beir(tmp_path / "d", questions={**QUESTIONS, "q1": "Keys?"}),
        write_beir(tmp_path / "e", judged=[("q1", "keys", "1"), *JUDGED[1:]]),
    ]
    assert len({first, *(sets.fingerprint(sets.read(other)) for other in others)}) == 4


# -- configurations --


def test_every_combination_is_tried_once() -> None:
    """Strategies, sizes and overlaps are multiplied; what is not given is as the settings say; a grid may be of one."""
    settings = Settings(chunk_tokens=100, score_threshold=0.25)
    grid = grids.Grid(chunk_strategies=["structure", "document"], sizes=[64, 128, 64], overlaps=[0, 8])
    assert [each.label for each in grid.configurations(settings.splitting, settings, top_k=10)] == [
        *("structure 64", "structure 64/8", "structure 128", "structure 128/8"),
        *("document", "document/8"),
    ]
    (one,) = grids.Grid().configurations(settings.splitting, settings, top_k=10)
    assert one == grids.Configuration(
        Splitting(strategy=ChunkStrategy.STRUCTURE, max_tokens=100),
        RetrievalOptions(top_k=10, score_threshold=0.25),
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--chunk-tokens 128,many", "chunk_tokens: '128,many' is no list of whole numbers"),
        ("--chunk-tokens 3", "chunk_tokens: Input should be greater than or equal to 16"),
        ("--chunk-tokens 64 --chunk-overlap 64", "chunk_overlap: overlap must be smaller than max_tokens"),
        ("--chunk-strategy whim", "chunk_strategy: Input should be 'structure'"),
        ("--top-k 0", "top_k: must be between 1 and 1000"),
        ("--score-threshold nan", "score_threshold: must be between 0 and 1"),
        ("--measure charm", "measure: 'charm' is none of this set's: ndcg@10, recall@10"),
        ("--gate gone.json", "gate: gone.json cannot be read"),
        ("--gate beir/corpus.jsonl", "is not what --out wrote"),
        ("--out nowhere/figures.json", "out: nowhere/figures.json cannot be written"),
        ("--plot beir", "plot: beir cannot be written"),
        ("--plot figures.csv", "plot: figures.csv is no kind of picture"),
    ],
)
def test_a_mistake_is_told_before_anything_is_indexed(bench: Bench, options: str, told: str) -> None:
    """Exit code 2 and one line that names the argument."""
    check_mistake(bench(f"beir {options}"), told)


# -- figures --


def test_the_figures_are_told_with_their_intervals(bench: Bench) -> None:
    """A table with each measure, and how long a retrieval takes."""
    ran = bench("beir")
    assert (ran.code, ran.err) == (Exit.DONE, "")
    assert ran.out.startswith("beir: 4 questions, embedder static, top_k 10\nstructure 256: 6 documents, 6 chunks\n")
    assert "ndcg@10        1.0000   1.0000 to 1.0000" in ran.out
    assert "ms (p95)" in ran.out


def test_the_figures_as_json(bench: Bench, tmp_path: Path) -> None:
    """`--json` prints what `--out` writes, and again the same figures."""
    ran = bench("beir --json --out figures.json --top-k 1")
    record = ran.json
    assert json.loads((tmp_path / "figures.json").read_text()) == record
    (result,) = record["results"]
    assert result["figures"]["precision@1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert (record["questions"], record["measure"], result["chunks"]) == (4, "ndcg@1", 6)
    assert 0 < result["p50_ms"] <= result["p95_ms"]
    again = bench("beir --json --top-k 1").json["results"][0]["figures"]
    assert again == result["figures"]


def test_questions_that_are_hard_to_ask(bench: Bench, tmp_path: Path) -> None:
    """A blank one finds nothing; a stop word, a script that nothing is written in and more hits than there are chunks
    are measured like any other; one without judgements is left out, and that is said."""
    odd = {"blank": " ", "stop": "the", "script": "Որտե՞ղ է բանալին", "unjudged": "What?"}
    judged = [*JUDGED, ("blank", "keys", "1"), ("stop", "keys", "1"), ("script", "keys", "1")]
    write_beir(tmp_path / "odd", questions={**QUESTIONS, **odd}, judged=judged)
    ran = bench("odd --json --top-k 1000")
    assert (ran.json["questions"], ran.json["left_out"]) == (7, 1)
    assert 4 / 7 <= ran.json["results"][0]["figures"]["hit@1000"]["mean"] <= 6 / 7
    assert bench("odd").err == "kbchat: questions left out, because nothing is judged relevant for them: 1\n"


def test_a_question_that_is_too_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with the setting that forbids it."""
    monkeypatch.setenv("KBCHAT_MAX_QUESTION_CHARS", "20")
    ran = bench("beir")
    assert ran.code == Exit.MISTAKE
    assert "question 'q1' has 27 characters; at most 20 are asked (the setting max_question_chars)" in ran.err


def test_nobodys_data_are_touched(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers and the folder of the settings are left alone, and the trial's own folder is removed."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("KBCHAT_CATALOG_URL", "postgresql://127.0.0.1:9/kb")
    monkeypatch.setenv("KBCHAT_CHROMA_URL", "http://127.0.0.1:9")
    assert bench("beir").code == Exit.DONE
    assert not (tmp_path / "kb-data").exists()
    assert list((tmp_path / "temporary").glob("kbchat-bench-*")) == []


def test_passages_are_measured_as_in_chromas_report(bench: Bench, tmp_path: Path) -> None:
    """Recall, precision, IoU of the five best chunks, and what the chunks would allow for."""
    text = "\n\n".join(CORPUS.values())
    rows: list[tuple[str, object, str]] = [
        ("How often are keys rotated?", [excerpt(text, "every 90 days")], "one"),
        ("When is lunch served?", [excerpt(text, CORPUS["lunch"])], "one"),
    ]
    write_chroma(tmp_path / "chroma", rows, {"one": text})
    record = bench("chroma --json --chunk-tokens 16 --chunk-strategy separator").json
    assert (record["dataset"], record["measure"]) == ("chroma", "recall@5")
    figures = {name: figure["mean"] for name, figure in record["results"][0]["figures"].items()}
    assert list(figures) == ["recall@5", "precision@5", "iou@5", "precision_omega", "kept"]
    assert figures["recall@5"] == 1
    assert 0 < figures["iou@5"] <= figures["precision@5"] < figures["precision_omega"] <= 1


def test_values_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    """A score of NaN is not averaged away."""
    given = sets.read(write_beir(tmp_path / "set"))
    tried = grids.Configuration(Splitting())
    trial = trials.Trial(tried, 1, 1, 0, 0.1, {"ndcg@10": [0.5, math.nan]}, [0.1])
    with pytest.raises(InvalidInputError, match="not finite"):
        records.record(given, [trial], embedder="static", measure="ndcg@10")


# -- comparing --


def test_a_grid_is_compared_and_drawn(bench: Bench, tmp_path: Path) -> None:
    """Each configuration has a row; the others are held against the best, question by question."""
    options = "beir --chunk-tokens 16,64 --chunk-overlap 0,4 --measure mrr"
    ran = bench(f"{options} --plot figures.png")
    assert ran.code == Exit.DONE
    assert ran.out.count("structure 64/4") == 2
    assert "best mrr@10: structure 16, 1.0000 [1.0000, 1.0000]; against it:" in ran.out
    assert "may be luck" in ran.out
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_needs_an_extra(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the message says what to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = bench("beir --plot figures.png")
    assert ran.code == Exit.MISTAKE
    assert "pip install 'kbchat[bench]'" in ran.err


# -- the gate --


def test_the_gate_lets_through_what_is_as_good(bench: Bench) -> None:
    """The same again, and a change that costs nothing, even where it is another configuration."""
    assert bench("beir --out was.json").code == Exit.DONE
    ran = bench("beir --gate was.json")
    assert (ran.code, ran.err) == (Exit.DONE, "")
    ran = bench("beir --gate was.json --chunk-tokens 64")
    assert ran.code == Exit.DONE
    assert "structure 64, by static, is held against structure 256, by static" in ran.err


def test_the_gate_holds_back_what_is_worse(bench: Bench, tmp_path: Path) -> None:
    """Each figure that fell is named, the code is 1, and the new figures are written all the same."""
    assert bench("beir --out was.json").code == Exit.DONE
    ran = bench("beir --gate was.json --score-threshold 1 --out now.json")
    assert ran.code == Exit.INCOMPLETE
    told = "kbchat: worse than recorded: structure 256: ndcg@10 is 0.0000, recorded was 1.0000 [1.0000, 1.0000]\n"
    assert told in ran.err
    assert ran.err.count("worse than recorded") == 7
    assert json.loads((tmp_path / "now.json").read_text())["results"][0]["score_threshold"] == 1


def test_the_gate_allows_for_the_interval(bench: Bench, tmp_path: Path) -> None:
    """A figure within the recorded interval passes, one below it does not."""
    assert bench("beir --out was.json").code == Exit.DONE
    was = records.read_record(tmp_path / "was.json")

    def with_ndcg(mean: float, low: float, high: float) -> records.Record:
        (result,) = was.results
        figures = {**result.figures, "ndcg@10": records.Figure(mean=mean, low=low, high=high)}
        return was.model_copy(update={"results": (result.model_copy(update={"figures": figures}),)})

    recorded = with_ndcg(0.9, 0.8, 0.95)
    assert records.shortfalls(recorded, with_ndcg(0.81, 0.7, 0.9)) == []
    (missed,) = records.shortfalls(recorded, with_ndcg(0.79, 0.7, 0.9))
    assert (missed.measure, missed.recorded.low, missed.now.mean) == ("ndcg@10", 0.8, 0.79)


def test_what_does_not_compare_is_told(bench: Bench, tmp_path: Path) -> None:
    """Other data, another top_k, a configuration or measure that was not recorded, and overwriting the record."""
    assert bench("beir --out was.json").code == Exit.DONE
    other = {**json.loads((tmp_path / "was.json").read_text())}
    del other["results"][0]["figures"]["hit@10"]
    (tmp_path / "other.json").write_text(json.dumps(other))
    write_beir(tmp_path / "changed", judged=JUDGED[:3])
    for line, told in {
        "changed --gate was.json": "was recorded on other texts, questions or judgements (beir); record it anew",
        "beir --gate was.json --top-k 3": "was recorded with a top_k of 10, not 3",
        "beir --gate was.json --chunk-tokens 64,256": "has no 'structure 64, by static'; recorded are: structure 256",
        "beir --gate other.json": "has other measures than ndcg@10",
        "beir --gate was.json --out was.json": "is what the gate compares with",
    }.items():
        ran = bench(line)
        assert (ran.code, ran.out) == (Exit.MISTAKE, "")
        assert told in ran.err
