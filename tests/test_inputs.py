"""What people hand in is checked where it enters, and every refusal names the field."""

import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kbchat
from kbchat import several
from kbchat.errors import InvalidInputError, SpaceNotFoundError
from kbchat.inputs import (
    MAX_METADATA_DEPTH,
    MAX_NAME,
    checked_handle,
    checked_messages,
    checked_metadata,
    checked_name,
    checked_options,
    checked_owner,
    checked_page,
    checked_prose,
    checked_question,
    checked_text,
    checked_vector_type,
    named_or_numbered,
)
from kbchat.models import Message, Reference, VectorType
from kbchat.summaries import Sources, Turn


@pytest.mark.parametrize("name", ["handbook", "手册", "دليل", "a/b", "49", "x" * MAX_NAME, "emoji 🙂", 'quo"te'])
def test_names_of_any_script_pass(name: str) -> None:
    """A name may be of any script and hold any sign that can be seen."""
    assert checked_name(name, field="name") == name


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("x" * 10_000_000, "10,000,000 characters"),
        (" x", "white space"),
        ("a\x00b", r"U\+0000 at position 1"),
        ("a\nb", r"U\+000A"),
        ("a\ud800", r"U\+D800"),
        ("a\u2028b", r"U\+2028"),
    ],
)
def test_names_that_cannot_be_kept_are_refused(name: str, what: str) -> None:
    """The refusal names the field and says what is wrong."""
    with pytest.raises(InvalidInputError, match=f"name: .*{what}") as caught:
        checked_name(name, field="name")
    assert caught.value.field == "name"


@given(st.text(max_size=40))
def test_a_name_is_refused_or_composed(name: str) -> None:
    """What passes is in NFC, passes again unchanged, and looks the same."""
    try:
        checked = checked_name(name, field="name")
    except InvalidInputError:
        return
    assert unicodedata.is_normalized("NFC", checked)
    assert unicodedata.normalize("NFD", checked) == unicodedata.normalize("NFD", name)


def test_the_empty_owner_is_nobody_in_particular() -> None:
    """Spaces need no owner."""
    assert checked_owner("") == ""
    assert checked_owner("alice") == "alice"


def test_text_with_what_no_database_keeps_is_refused() -> None:
    """NUL and lone surrogates are refused with their position; everything else stays as it is."""
    assert checked_text("a\tb\u0085🙂", field="desc") == "a\tb\u0085🙂"
    with pytest.raises(InvalidInputError, match=r"desc: .*NUL .*position 3"):
        checked_text("abc\x00", field="desc")
    with pytest.raises(InvalidInputError, match=r"desc: .*surrogate .*position 1"):
        checked_text("a\udc80", field="desc")
    with pytest.raises(InvalidInputError, match=r"desc: .*20,000 characters"):
        checked_prose("x" * 20_000, field="desc")


@pytest.mark.parametrize("word", ["chroma", "CHROMA", "Chroma"])
def test_vector_types_are_known_in_any_letter_case(word: str) -> None:
    """The wire sends them in any case."""
    assert checked_vector_type(word) is VectorType.CHROMA


def test_an_unknown_vector_type_names_the_two() -> None:
    """The refusal says what can be used."""
    with pytest.raises(InvalidInputError, match=r"vector_type: .*'Chroma' or 'Milvus'"):
        checked_vector_type("Weaviate")


def test_questions_are_neither_blank_nor_endless() -> None:
    """A limit is a setting; a blank question is none."""
    assert checked_question("why?", field="query", limit=4) == "why?"
    for blank in ("", " \n"):
        with pytest.raises(InvalidInputError, match=r"query: .*empty"):
            checked_question(blank, field="query", limit=4)
    with pytest.raises(InvalidInputError, match=r"query: .*5 characters; at most 4"):
        checked_question("why??", field="query", limit=4)


def test_a_conversation_ends_with_a_question() -> None:
    """A plain string is a conversation of one question."""
    assert checked_messages("hi", limit=10) == (Message(role="user", content="hi"),)
    turns = [Message(role="user", content="a"), Message(role="assistant", content="b")]
    for wrong in ([], turns):
        with pytest.raises(InvalidInputError, match=r"messages: .*role 'user'"):
            checked_messages(wrong, limit=10)


def asked(name: str, value: object) -> object:
    """What a call asks for with one argument."""
    return getattr(checked_options({name: value}, settings=kbchat.Settings(), reranks=False, caller="retrieve()"), name)


def refusals() -> Iterator[tuple[str, Callable[[Any], object]]]:
    """What takes a value, and what the value is called."""
    yield "name", lambda value: checked_name(value, field="name")
    yield "desc", lambda value: checked_prose(value, field="desc")
    yield "query", lambda value: checked_question(value, field="query", limit=10)
    yield "owner", checked_owner
    yield "vector_type", checked_vector_type
    yield "messages", lambda value: checked_messages(value, limit=10)
    yield "metadata", lambda value: checked_metadata(value, field="metadata")
    for name in ("top_k", "score_threshold", "diversity", "expand", "strategy"):
        yield name, partial(asked, name)
    yield "offset", lambda value: checked_page(value, 1)
    yield "limit", lambda value: checked_page(0, value)
    yield "spaces", several.checked


@pytest.mark.parametrize(("field", "check"), list(refusals()))
@pytest.mark.parametrize("value", [object(), 2.5j])
def test_what_is_of_another_kind_is_refused_by_name(field: str, check: Callable[[Any], object], value: object) -> None:
    """A program that mixes up its arguments is told which, not where it went wrong inside."""
    with pytest.raises(InvalidInputError) as caught:
        check(value)
    assert caught.value.field == field


def test_any_whole_number_will_do() -> None:
    """Numbers of numpy are none of Python's, and count things as well."""
    assert asked("top_k", np.int64(5)) == asked("top_k", 5) == 5
    assert asked("expand_tokens", np.int64(7)) == 7
    for name in ("score_threshold", "diversity", "dense_weight"):
        for half in (np.float32(0.5), np.float64(0.5), 0.5):
            assert (asked(name, half), type(asked(name, half))) == (0.5, float)
        assert (asked(name, 1), type(asked(name, 1))) == (1.0, float)
    assert checked_page(np.int32(1), None) == (1, None)  # type: ignore[arg-type]
    for name, wrong in (("top_k", 2.0), ("top_k", True), ("top_k", "2"), ("expand_tokens", 2.5)):
        with pytest.raises(InvalidInputError, match=f"^{name}: must be a whole number, not {wrong!r}$"):
            asked(name, wrong)


def deep(levels: int, *, inside: Callable[[Any], Any]) -> dict[str, Any]:
    """Metadata of so many levels."""
    value: Any = 1
    for _ in range(levels - 1):
        value = inside(value)
    return {"a": value}


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ([1, 2], "must be a mapping of texts to values, not list"),
        ("abc", "must be a mapping of texts to values, not str"),
        ({True: 1}, "has the key True; keys must be texts, not bool"),
        ({"a": [{"b": {1: 2}}]}, "has the key 1; keys must be texts, not int"),
        ({"a": object()}, "cannot be written as JSON: .* object"),
        (deep(65, inside=lambda value: [value]), "more than 64 levels"),
        (deep(300, inside=lambda value: {"a": value}), "more than 64 levels"),
        (deep(100_000, inside=lambda value: (value,)), "more than 64 levels"),
    ],
)
def test_metadata_that_no_reader_could_take_back_is_refused(metadata: Any, what: str) -> None:
    """JSON has texts as keys, and those who read it do not go down without end."""
    with pytest.raises(InvalidInputError, match=f"^metadata: .*{what}"):
        checked_metadata(metadata, field="metadata")


def test_metadata_that_holds_itself_is_refused() -> None:
    """At once, also where it does so twice."""
    metadata: dict[str, Any] = {}
    metadata["a"] = [metadata, metadata]
    with pytest.raises(InvalidInputError, match="metadata: holds itself"):
        checked_metadata(metadata, field="metadata")


@pytest.mark.parametrize("inside", [lambda value: [value], lambda value: {"a": value}])
def test_the_deepest_metadata_is_read_back_wherever_it_is_sent(inside: Callable[[Any], Any]) -> None:
    """Also within an answer that is kept in a conversation."""
    metadata = deep(MAX_METADATA_DEPTH, inside=inside)
    assert checked_metadata(metadata, field="metadata") == metadata
    reference = Reference(
        name="a", document_id=1, chunk_id=1, content="a", start=0, end=1, recall_score=1, metadata=metadata
    )
    turn = Turn(role="assistant", content="a", sources=Sources(space_id=1, references=(reference,)))
    assert Turn.model_validate_json(turn.model_dump_json()) == turn


@pytest.mark.parametrize("handle", ["a\x00", "\ud800"])
def test_nothing_has_a_name_that_cannot_be_kept(handle: str) -> None:
    """It is nobody's, and no database is asked for it."""
    assert checked_handle(handle, field="name_or_id") == 0


@pytest.mark.parametrize("top_k", [0, -1, 10_000])
def test_top_k_has_bounds(top_k: int) -> None:
    """0 and 10,000 are refused by name."""
    with pytest.raises(InvalidInputError, match=f"top_k: must be between 1 and 1000, not {top_k}"):
        asked("top_k", top_k)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_score(threshold: float) -> None:
    """A threshold outside of [0, 1] would drop all or nothing."""
    with pytest.raises(InvalidInputError, match="score_threshold: must be between 0 and 1"):
        asked("score_threshold", threshold)


async def test_a_word_is_a_name_or_else_an_id() -> None:
    """Where people and clients write either: the name wins, then the id, and the error tells the word."""
    there: dict[str | int, str] = {"7": "named seven", 8: "the eighth", "notes": "notes"}

    async def find(handle: str | int) -> str:
        if handle not in there:
            raise SpaceNotFoundError(handle)
        return there[handle]

    for word, found in (("7", "named seven"), ("8", "the eighth"), (8, "the eighth"), ("notes", "notes")):
        assert await named_or_numbered(find, word) == found
    for word in ("9", "９", "-8", "8.0", "8 ", "", "9" * 5000, 9):
        with pytest.raises(SpaceNotFoundError) as caught:
            await named_or_numbered(find, word)
        assert caught.value.space == word


class Bytes:
    """A path that is no text, as `os.scandir(b".")` gives them."""

    def __fspath__(self) -> bytes:
        return b"x"


async def test_a_path_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    """Not as an error within an error; and what can be no path at all is told by its kind."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("a")
        with pytest.raises(InvalidInputError) as caught:
            await space.ingest("gone.txt")
        assert str(caught.value) == "sources: there is no file or folder 'gone.txt'"
        for wrong in (5, [None], b"x", Bytes(), [Bytes()]):
            with pytest.raises(InvalidInputError, match=r"sources: must be .*, not "):
                await space.ingest(wrong)  # type: ignore[arg-type]
            with pytest.raises(InvalidInputError, match=r"paths: must be .*, not "):
                await space.sync(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="role: 'boss' is unknown; use one of: "):
            await kb.keys.create("k", role="boss")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match=r"source: .*surrogate"):
            await space.add_document("d", text="text", source="\ud800")
