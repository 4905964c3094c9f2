"""The command line: what it prints where, and how it ends."""

import json
import logging
import re
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbchat import Reference, VectorType, errors
from kbchat.cli import main, screen
from kbchat.cli.exits import MISTAKES, Exit, OneLine, code_of
from kbchat.cli.spaces import Store

ESCAPES = "\x1b[31mred\x1b[0m \x9b2J \x1b]0;title\x07 [bold]not bold[/bold] :smile: \u202egnp.exe"


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        """The one JSON document on stdout."""
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Kbchat = Callable[..., Ran]


@pytest.fixture
def kbchat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Kbchat:
    """Run a command line in this process, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(line: str, *more: str) -> Ran:
        code = main([*shlex.split(line), *more])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def handbook(kbchat: Kbchat, tmp_path: Path) -> Kbchat:
    """The same, with a space `handbook` of two documents."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "keys.md").write_text(
        "# Keys\n\nKeys are rotated every 90 days by the owner of the service.\n"
    )
    (tmp_path / "docs" / "lunch.md").write_text("# Lunch\n\nLunch is served between noon and two on the third floor.\n")
    assert kbchat("ingest handbook docs").code == Exit.DONE
    return kbchat


# -- ingest, search, ask --


def test_ingest_reports_what_it_did(kbchat: Kbchat, tmp_path: Path) -> None:
    """The first run makes the space and adds, the second leaves alone what did not change."""
    (tmp_path / "a.md").write_text("# A\n\nAlpha is the first letter.\n")
    (tmp_path / "b.md").write_text("# B\n\nBeta is the second letter.\n")
    first = kbchat("ingest letters a.md b.md")
    assert first.code == Exit.DONE
    assert first.out.startswith("letters: 2 added, 0 updated, 0 unchanged, 0 failed; 2 chunks written in ")
    (tmp_path / "b.md").write_text("# B\n\nBeta comes after alpha.\n")
    second = kbchat("ingest letters a.md b.md --json").json
    assert isinstance(second, dict)
    assert (second["added"], second["updated"], second["unchanged"], second["failed"]) == (0, 1, 1, [])


def test_a_document_that_fails_is_named_and_the_others_go_in(kbchat: Kbchat, tmp_path: Path) -> None:
    """Exit code 1, the reason on stderr, the good document in the space."""
    (tmp_path / "good.md").write_text("# Good\n\nThis one can be read.\n")
    (tmp_path / "bad.md").write_bytes(b"\x00\x01\x02 binary")
    ran = kbchat("ingest mixed good.md bad.md")
    assert ran.code == Exit.INCOMPLETE
    assert ran.err.startswith("kbchat: bad.md: ")
    assert "1 added" in ran.out
    assert "1 failed" in ran.out
    assert "good.md" in kbchat("search mixed", "which one can be read?").out


def test_search_explains_itself(handbook: Kbchat) -> None:
    """Each passage's scores and ranks, why it was cut, the evidence and the time; as JSON the whole trace."""
    ran = handbook("search handbook --explain --top-k 1", "How often are keys rotated?")
    assert ran.code == Exit.DONE
    first = r"^ *1 +docs/keys.md 0-\d+ +0\.\d\d #1 +0\.\d\d #1 .* [01]\.\d\d +quoted *$"
    assert re.search(first, ran.out, re.MULTILINE)
    assert re.search(r"^a prompt takes \d+ of the [\d,]+ tokens", ran.out, re.MULTILINE)
    assert re.search(r"^ *2 +docs/lunch.md 0-\d+ .* top_k *$", ran.out, re.MULTILINE)
    assert "top_k: others scored more" in ran.out
    floor = handbook("search handbook --explain --score-threshold 1", "How often are keys rotated?").out
    assert "score_threshold: its score is below it" in floor
    assert re.search(r"^confidence [01]\.\d+: the answer is here", ran.out, re.MULTILINE)
    assert re.search(r"^pairs_covered +", ran.out, re.MULTILINE)
    assert re.search(r"^total +\d+\.\d\d *$", ran.out, re.MULTILINE)
    found = handbook("search handbook --explain --json --top-k 1", "How often are keys rotated?").json
    assert isinstance(found, dict)
    assert [it["name"] for it in found["references"]] == ["docs/keys.md"]
    assert [it["cut"] for it in found["candidates"]] == [None, "top_k"]
    nothing = handbook("search handbook --explain", "keys", "--where", '{"field": "lang", "eq": "de"}').out
    assert "No search brought anything." in nothing
    assert "the filter selects 0 documents" in nothing


def test_search_shows_passages_best_first(handbook: Kbchat) -> None:
    """A line says score and place, the next one the passage; `--json` has the same in full."""
    ran = handbook("search handbook", "How often are keys rotated?")
    assert ran.code == Exit.DONE
    assert re.match(r" 1  [01]\.\d\d  docs/keys\.md  Keys, characters \d+-\d+\n    .*every 90 days", ran.out)
    found = handbook("search handbook --json --top-k 1", "How often are keys rotated?").json
    assert isinstance(found, list)
    assert [reference["name"] for reference in found] == ["docs/keys.md"]
    assert "every 90 days" in found[0]["content"]


def test_finding_nothing_is_an_answer(handbook: Kbchat) -> None:
    """A threshold that nothing reaches: exit code 0, an empty list, and a word on stderr for people."""
    ran = handbook("search handbook --score-threshold 1", "zebra")
    assert ran == (Exit.DONE, "", "kbchat: nothing was found\n")
    assert handbook("search handbook --score-threshold 1 --json", "zebra").json == []


def test_ask_prints_the_answer_and_its_references(handbook: Kbchat) -> None:
    """The answer, then a table with the number that it cites, the score, the document and the place."""
    ran = handbook("ask handbook", "How often are keys rotated?")
    assert ran.code == Exit.DONE
    answer, _, table = ran.out.partition("\n\n")
    assert "every 90 days" in answer
    assert "[1]" in answer
    assert re.search(r"^\[1\] +[01]\.\d\d +docs/keys\.md +Keys, characters \d+-\d+ +", table, re.MULTILINE)


def test_ask_as_json_is_the_whole_answer(handbook: Kbchat) -> None:
    """One object: text without a references tag, references, usage, finish reason."""
    answer = handbook("ask handbook --json", "How often are keys rotated?").json
    assert isinstance(answer, dict)
    assert "every 90 days" in answer["text"]
    assert "<references" not in answer["text"]
    assert answer["references"][0]["name"] == "docs/keys.md"
    assert answer["finish_reason"] == "stop"


# -- spaces --


def test_spaces_are_made_shown_changed_and_removed(kbchat: Kbchat) -> None:
    """The life of a space, named in any script, by name and by id."""
    made = kbchat("spaces create 手册 --vector-type chroma --desc '员工 手册' --owner 王 --json").json
    assert isinstance(made, dict)
    assert (made["name"], made["vector_type"], made["desc"], made["owner"]) == ("手册", "Chroma", "员工 手册", "王")
    assert "手册" in kbchat("spaces list").out
    assert kbchat("spaces list --owner 李 --json").json == []
    changed = kbchat(f"spaces update {made['id']} --desc new --json").json
    assert changed == made | {"desc": "new", "updated_at": changed["updated_at"]}  # type: ignore[index]
    assert re.search(r"^description +new$", kbchat("spaces show 手册").out, re.MULTILINE)
    assert kbchat("spaces delete 手册").out == "removed '手册'\n"
    gone = kbchat("spaces show 手册")
    assert gone.code == Exit.MISTAKE
    assert gone.err == "kbchat: there is no space '手册'; `kbchat spaces list` names those there are\n"


def test_show_lists_documents_on_request(handbook: Kbchat) -> None:
    """The names of the documents, as a table and as JSON; no texts."""
    assert "docs/keys.md" not in handbook("spaces show handbook").out
    assert "docs/keys.md" in handbook("spaces show handbook --documents").out
    shown = handbook("spaces show handbook --documents --json").json
    assert isinstance(shown, dict)
    assert [document["name"] for document in shown["documents"]] == ["docs/keys.md", "docs/lunch.md"]
    assert shown["document_count"] == 2


def test_an_empty_list_says_how_to_begin(kbchat: Kbchat) -> None:
    """No spaces: stdout stays empty, the hint is on stderr."""
    ran = kbchat("spaces list")
    assert (ran.code, ran.out) == (Exit.DONE, "")
    assert "kbchat ingest SPACE PATH" in ran.err


def test_reembed_keeps_what_can_be_found(handbook: Kbchat) -> None:
    """After embedding anew the same question finds the same document."""
    assert handbook("reembed handbook").code == Exit.DONE
    assert "docs/keys.md" in handbook("search handbook --top-k 1", "How often are keys rotated?").out


def test_fsck_tells_of_every_space_that_it_can(handbook: Kbchat, tmp_path: Path) -> None:
    """One of another embedder is said on stderr, and decides how it ends; alone it prints nothing."""
    assert handbook("spaces create other").code == Exit.DONE
    assert handbook("ingest last docs").code == Exit.DONE
    change = "UPDATE spaces SET embedder_name = 'openai:gone', embedder_dimension = 3 WHERE name = 'handbook'"
    with closing(sqlite3.connect(tmp_path / "kb-data/catalog.sqlite", isolation_level=None)) as catalog:
        catalog.execute(change)
    ran = handbook("fsck --json")
    assert (ran.code, ran.err.count("\n")) == (Exit.MISTAKE, 1)
    assert "kbchat reembed handbook" in ran.err
    assert [(report["space"], report["chunks"]) for report in ran.json] == [("other", 0), ("last", 2)]  # type: ignore[attr-defined]
    ran = handbook("fsck")
    assert (ran.code, ran.out.count("nothing to mend")) == (Exit.MISTAKE, 2)
    ran = handbook("fsck handbook --json")
    assert (ran.code, ran.out) == (Exit.MISTAKE, "")


def test_the_stores_offered_are_those_there_are() -> None:
    """`--vector-type` writes the names out; they are those of `VectorType`."""
    assert list(get_args(Store)) == [kind.value for kind in VectorType]


# -- mistakes --

WRONG = {
    "": "kbchat --help",
    "serach handbook x": "Did you mean 'search'",
    "search handbook": "Missing argument 'QUERY'",
    "search handbook x --top_k 3": "--top-k",
    "search nowhere x": "there is no space 'nowhere'; `kbchat spaces list`",
    "search handbook ''": "the question is empty",
    "search handbook x --top-k 0": "between 1 and 1000",
    "search handbook x --where {": "--where: must be JSON",
    'search handbook x --where \'{"field": "a"}\'': "--where: must hold exactly one of",
    "search handbook x --top-k 10000": "between 1 and 1000",
    "search handbook x --score-threshold 2": "between 0 and 1",
    "ask handbook ' '": "the question is empty",
    "ask handbook x --model nobody": "there is no model 'nobody'; configured are: extractive",
    "ingest handbook nowhere.md": "there is no file or folder 'nowhere.md'",
    "ingest empty-folder empty": "holds no readable documents; see `kbchat formats`",
    "ingest '' docs": "must not be empty",
    "spaces create ''": "must not be empty",
    "spaces create handbook": "already there",
    "spaces create x --vector-type Weaviate": "'chroma', 'milvus'",
    "spaces delete nowhere": "there is no space",
    "spaces list --data-dir ''": "data_dir: an empty path is refused; the working folder is '.'",
    "serve --host 0.0.0.0": "KBCHAT_API_KEYS",
    "serve --port 70000": "port",
}


@pytest.mark.parametrize(("line", "remedy"), WRONG.items())
def test_a_mistake_is_one_line_that_says_what_to_do(handbook: Kbchat, tmp_path: Path, line: str, remedy: str) -> None:
    """Exit code 2, one line on stderr, nothing on stdout but help, no traceback."""
    (tmp_path / "empty").mkdir()
    ran = handbook(line)
    assert ran.code == Exit.MISTAKE
    assert remedy in ran.err
    assert ran.err.startswith("kbchat: ")
    assert ran.err.count("\n") == 1
    assert line == "" or ran.out == ""


def test_a_mistake_leaves_nothing_behind(kbchat: Kbchat, tmp_path: Path) -> None:
    """A space that only this command made is not kept when nothing could go in."""
    (tmp_path / "empty").mkdir()
    assert kbchat("ingest new empty").code == Exit.MISTAKE
    assert kbchat("ingest new missing.md").code == Exit.MISTAKE
    assert kbchat("ingest new missing --watch").code == Exit.MISTAKE
    assert kbchat("spaces list --json").json == []


def test_a_name_of_ten_megabytes_is_refused(kbchat: Kbchat) -> None:
    """The message gives the length and the limit, not the name."""
    ran = kbchat("spaces create", "x" * 10_000_000)
    assert ran.code == Exit.MISTAKE
    assert ran.err == "kbchat: name: has 10,000,000 characters; at most 255 are allowed\n"


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("KBCHAT_TOP_K", "0", "top_k"),
        ("KBCHAT_PORT", "http", "port"),
        ("KBCHAT_EMBEDDER", "magic", "embedder"),
        ("KBCHAT_LLM_BASE_URL", "http://localhost:1", ": llm_base_url needs llm_model"),
        ("KBCHAT_MODELS", "{", 'a KBCHAT_* variable must hold JSON: error parsing value for field "models"'),
    ],
)
def test_a_wrong_setting_is_named(
    kbchat: Kbchat, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    """The message names the setting."""
    monkeypatch.setenv(variable, value)
    ran = kbchat("spaces list")
    assert (ran.code, ran.out, ran.err.count("\n")) == (Exit.MISTAKE, "", 1)
    assert named in ran.err


def test_a_settings_file_that_is_not_toml_is_named(kbchat: Kbchat, tmp_path: Path) -> None:
    """The message names the file."""
    (tmp_path / "kbchat.toml").write_text("top_k = = 3")
    ran = kbchat("spaces list")
    assert (ran.code, ran.err.count("\n")) == (Exit.MISTAKE, 1)
    assert "kbchat.toml" in ran.err


def test_a_key_is_never_printed(kbchat: Kbchat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the setting beside it is wrong."""
    monkeypatch.setenv("KBCHAT_LLM_API_KEY", "sk-secret")
    monkeypatch.setenv("KBCHAT_API_KEYS", "sk-secret")
    monkeypatch.setenv("KBCHAT_MODELS", '{"m": {"api_key": "sk-secret"}}')
    assert "sk-secret" not in "".join(map(str, kbchat("spaces list")))


def test_a_damaged_catalog_is_a_failure_not_a_traceback(handbook: Kbchat, tmp_path: Path) -> None:
    """Exit code 3 and one line."""
    for file in (tmp_path / "kb-data").glob("catalog*"):
        file.write_bytes(b"this is no database" * 1000)
    ran = handbook("spaces list")
    assert (ran.code, ran.out, ran.err.count("\n")) == (Exit.FAILED, "", 1)


def test_a_data_folder_that_is_a_file_is_a_failure(kbchat: Kbchat, tmp_path: Path) -> None:
    """One line that names the folder."""
    (tmp_path / "file").write_text("")
    ran = kbchat("spaces list --data-dir file")
    assert ran.code in (Exit.MISTAKE, Exit.FAILED)
    assert ran.err.count("\n") == 1
    assert "file" in ran.err


def test_every_error_is_a_mistake_or_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors of the caller's end with 2, those of parts with 3; what is no error of kbchat's is a defect."""
    for error in (errors.SettingsError("x"), errors.SpaceExistsError("x", ""), errors.DocumentNotFoundError("x")):
        assert isinstance(error, MISTAKES)
        assert code_of(error) == Exit.MISTAKE
    for error in (errors.BusyError("x"), errors.StoreUnavailableError("x"), errors.DeadlineError("x")):
        assert code_of(error) == Exit.FAILED
    capsys.readouterr()
    assert code_of(RuntimeError("x")) == Exit.DEFECT
    assert "Traceback" not in (err := capsys.readouterr().err) or "RuntimeError: x" in err
    assert "report it" in err


# -- terminals --


def test_documents_cannot_command_the_terminal(kbchat: Kbchat, tmp_path: Path) -> None:
    """Escapes and markup in names and texts are shown as text, everywhere that documents are shown."""
    (tmp_path / "docs").mkdir()
    hostile = f"# Heading {ESCAPES}\n\nThe hostile document says {ESCAPES} and no more.\n"
    (tmp_path / "docs" / "[red]name[red].md").write_text(hostile.replace("\x07", ""))
    outputs = [
        kbchat("ingest hostile docs"),
        kbchat("search hostile", "What does the hostile document say?"),
        kbchat("ask hostile", "What does the hostile document say?"),
        kbchat("spaces show hostile --documents"),
    ]
    shown = "".join(ran.out + ran.err for ran in outputs)
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown) == []
    assert "[bold]not bold[/bold] :smile:" in shown
    assert "[red]name[red].md" in shown


@given(st.text(), st.text())
def test_safe_text_is_safe_piece_by_piece(one: str, two: str) -> None:
    """No control character but tab and newline is left, and a cut between two pieces changes nothing."""
    assert screen.safe(one + two) == screen.safe(one) + screen.safe(two)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", screen.safe(one + two))


@given(st.text(), st.integers(1, 50))
def test_one_line_is_one_line(text: str, limit: int) -> None:
    """Whatever the text, it becomes one line within the limit."""
    line = screen.one_line(text, limit)
    assert len(line.splitlines()) <= 1
    assert len(line) <= limit


def test_a_place_is_said_as_people_would() -> None:
    """Page, pages, slide, sheet and headings, then the characters."""

    def place(**metadata: object) -> str:
        reference = Reference.model_validate(
            {"name": "a", "document_id": 1, "chunk_id": 1, "content": "x", "start": 5, "end": 6, "recall_score": 1}
            | {"metadata": metadata}
        )
        return screen.place(reference)

    assert place() == "characters 5-6"
    assert place(page=3, page_end=3) == "page 3, characters 5-6"
    assert place(page=3, page_end=4) == "page 3 to 4, characters 5-6"
    assert place(slide=2) == "slide 2, characters 5-6"
    assert place(sheet="Q1", headings=["Sales", "North"]) == "sheet Q1, Sales > North, characters 5-6"


def test_version_and_help(kbchat: Kbchat) -> None:
    """Both go to stdout with exit code 0."""
    from importlib.metadata import version

    assert kbchat("--version") == (Exit.DONE, f"kbchat {version('kbchat')}\n", "")
    helped = kbchat("ingest --help")
    assert (helped.code, helped.err) == (Exit.DONE, "")
    assert "KBCHAT_DATA_DIR" in helped.out


def test_a_message_in_the_log_is_one_line() -> None:
    """What a model's server says in its error can forge no line of the log, nor speak to the terminal."""
    said = "busy\nkbchat: listening at http://evil \x1b[2J"
    record = logging.LogRecord("kbchat.http", logging.WARNING, "", 0, "its server answered 500: %s", (said,), None)
    shown = OneLine("kbchat: %(message)s").format(record)
    assert shown == "kbchat: its server answered 500: busy kbchat: listening at http://evil [2J"
