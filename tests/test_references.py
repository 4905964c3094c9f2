"""The references tag: written, read back, and never forged."""

import hashlib
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kbchat import references
from kbchat.errors import ReferencesError
from kbchat.models import Metadata, Reference
from kbchat.references import Neutraliser, ParsedReference


def harmless(text: str) -> str:
    """The text in which nothing can be taken for the tag."""
    return text.replace("<references", "&lt;references")


DOCUMENTED = json.loads((Path(__file__).parent / "fixtures" / "documented_references.json").read_text("utf-8"))
DOCUMENTED_CONTENT_SHA256 = "6a3566c43c81de2ac9d08f038c8b9fd5f48530dfd4b5481c7a66b3e63eae6707"

texts = st.text(st.characters(exclude_categories=["Cs"]))
signs = """< > & " ' &quot; &amp;quot; /> <references </references> \\ \\u0026 ]]> &#10; &#x0; <!-- { } 😀 中 %s"""
controls = ["\n\n", "\r\n", "\t", "\x00", "\x0b", "\x1c", "\x7f", "\x85", "\u2028", "\ufffe", "\uffff", "\ufeff"]
hostile = st.lists(st.sampled_from([*signs.split(), '" />', references.TAG_OPENING, *controls])).map("".join)
any_text = texts | hostile
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | any_text
metadata: st.SearchStrategy[Metadata] = st.dictionaries(
    any_text,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3)),
    max_size=4,
)


@st.composite
def reference_lists(draw: st.DrawFn) -> list[Reference]:
    names = draw(st.lists(any_text, min_size=1, max_size=3))
    made = []
    for chunk_id in range(draw(st.integers(0, 5))):
        document = draw(st.integers(0, len(names) - 1))
        made.append(
            reference(
                name=names[document],
                document_id=document,
                chunk_id=chunk_id,
                content=draw(any_text),
                score=draw(st.floats(0, 1)),
                metadata=draw(metadata),
            )
        )
    return made


def reference(
    *,
    name: str = "a.md",
    document_id: int = 1,
    chunk_id: int = 1,
    content: str = "text",
    score: float = 0.9,
    metadata: Metadata | None = None,
) -> Reference:
    return Reference(
        name=name,
        document_id=document_id,
        chunk_id=chunk_id,
        content=content,
        start=0,
        end=len(content),
        recall_score=score,
        metadata=metadata or {},
    )


def documented_references() -> list[Reference]:
    return [
        reference(
            name=document["name"],
            document_id=number,
            chunk_id=chunk["id"],
            content=chunk["content"],
            score=chunk["recall_score"],
            metadata=references._read_dict(chunk["meta_info"]),
        )
        for number, document in enumerate(DOCUMENTED)
        for chunk in document["chunks"]
    ]


def attribute(tag: str) -> object:
    """The list that an XML parser sees in a tag."""
    element = ElementTree.fromstring(tag)
    assert (element.tag, element.get("title")) == ("references", "References")
    return json.loads(element.attrib["references"])


def listed(found: list[Reference]) -> object:
    """What the tag is to say of references, made another way."""
    names: dict[int, str] = {}
    chunks: dict[int, list[object]] = {}
    for one in sorted(found, key=lambda one: one.recall_score, reverse=True):
        names.setdefault(one.document_id, one.name)
        chunks.setdefault(one.document_id, []).append(
            {
                "id": one.chunk_id,
                "content": one.content,
                "meta_info": str(one.metadata),
                "recall_score": one.recall_score,
            }
        )
    return [{"name": names[number], "chunks": chunks[number]} for number in chunks]


def test_the_documented_frame_is_written_to_the_letter() -> None:
    """Rendering the documented references gives exactly the content of the documented frame."""
    content = "\n\n" + references.render(documented_references())
    assert hashlib.sha256(content.encode()).hexdigest() == DOCUMENTED_CONTENT_SHA256


def test_the_documented_tag_reads_back_and_renders_the_same() -> None:
    """What is parsed can be rendered again, and the metadata is a dict again."""
    tag = references.render(documented_references())
    answer, parsed = references.parse("Answer.\n\n" + tag)
    assert answer == "Answer."
    assert [one.chunk_id for one in parsed] == [2526, 2531, 2538]
    assert parsed[0].metadata["language"] == "en-US"
    assert references.render(parsed) == tag


def test_no_references_make_no_tag() -> None:
    """Nothing found is no tag, and a text without one is an answer without references."""
    assert references.render([]) == ""
    assert references.parse("Nothing was found.") == ("Nothing was found.", ())


@given(reference_lists().filter(bool))
def test_an_xml_parser_reads_what_was_written(found: list[Reference]) -> None:
    """Whatever documents hold, an XML parser gives back the very list, and the tag is one line and stands once."""
    tag = references.render(found)
    assert attribute(tag) == listed(found)
    assert len(tag.splitlines()) == 1
    assert tag.count("<references") == tag.count("<") == 1


@given(any_text, reference_lists())
@example("\n\n", [])
@example("a\n\n\n\n", [reference()])
def test_parse_undoes_render(answer: str, found: list[Reference]) -> None:
    """Answer and references come back as they were, in the order of the tag, from a neutralised text."""
    answer = harmless(answer)
    tag = references.render(found)
    back, parsed = references.parse(f"{answer}\n\n{tag}" if tag else answer)
    assert back == answer
    expected = [chunk for _, chunks in references.by_document(found) for chunk in chunks]
    assert [(one.name, one.chunk_id, one.content, one.recall_score) for one in parsed] == [
        (one.name, one.chunk_id, one.content, one.recall_score) for one in expected
    ]
    assert [str(one.metadata) for one in parsed] == [str(one.metadata) for one in expected]
    assert references.render(parsed) == tag


def test_documents_stand_by_their_best_chunk() -> None:
    """One entry a document, the one with the best chunk first, its chunks by score."""
    found = [
        reference(name="b", document_id=2, chunk_id=3, score=0.5),
        reference(name="a", document_id=1, chunk_id=1, score=0.6),
        reference(name="b", document_id=2, chunk_id=4, score=0.9),
    ]
    _, parsed = references.parse(references.render(found))
    assert [(one.name, one.chunk_id, one.group) for one in parsed] == [("b", 4, 0), ("b", 3, 0), ("a", 1, 1)]


def test_documents_of_one_name_stay_apart() -> None:
    """Two documents that share a name keep an entry each, also after parsing."""
    found = [reference(document_id=1, chunk_id=1), reference(document_id=2, chunk_id=2, score=0.8)]
    tag = references.render(found)
    _, parsed = references.parse(tag)
    assert [one.group for one in parsed] == [0, 1]
    assert references.render(parsed) == tag


@pytest.mark.parametrize("field", ["name", "content"])
def test_half_a_surrogate_pair_is_refused(field: str) -> None:
    """A lone surrogate cannot be sent in any encoding: a clear error, not a broken frame."""
    made = reference().model_copy(update={field: "half \ud800"})
    with pytest.raises(ReferencesError, match="surrogate"):
        references.render([made])


@pytest.mark.parametrize(
    ("meta_info", "expected"),
    [
        ("{'a': \"it's\", 'b': [1, -2.5e-07, None, True, False], 'c': {}}",
         {"a": "it's", "b": [1, -2.5e-07, None, True, False], "c": {}}),
        ("{'a': 'x\\ny\\\\ \\x00\\u2028\\U000e0001'}", {"a": "x\ny\\ \x00\u2028\U000e0001"}),
        ("{'a': -inf}", {"a": float("-inf")}),
        ("__import__('os').system('true')", {}),
        ("{'a': f()}", {}),
        ("{'a': '\\q'}", {}),
        ("[1]", {}),
        ("", {}),
        ("[" * 100_000, {}),
    ],
)  # fmt: skip
def test_metadata_is_read_without_evaluating_anything(meta_info: str, expected: Metadata) -> None:
    """`meta_info` of plain values becomes a dict; any other text is kept as it is and reads as no metadata."""
    parsed = ParsedReference(name="a", chunk_id=1, content="", meta_info=meta_info, recall_score=1.0, group=0)
    assert parsed.metadata == expected
    assert references.parse(references.render([parsed]))[1] == (parsed,)


@pytest.mark.parametrize(
    "broken",
    [
        references.render([reference()]) + " and more",
        references.render([reference()])[:-1],
        references.render([reference()])[:60],
        '<references title="References" references="" />',
        '<references title="References" references="[{}]" />',
        '<references title="References" references="[1]" />',
        '<references title="References" references="&nbsp;" />',
        '<references title="References" references="&#x110000;" />',
    ],
)
def test_a_broken_tag_is_an_error(broken: str) -> None:
    """A tag that was cut, spoilt or overgrown is not taken for an answer without references."""
    with pytest.raises(ReferencesError):
        references.parse("Answer.\n\n" + broken)


def test_other_writers_tags_are_read() -> None:
    """Other spaces between the attributes, other escapes and space after the tag do not matter."""
    tag = (
        '<references  title="References"\n references="[{&#34;name&#x22;: &quot;it&apos;s&quot;, &quot;chunks&quot;: '
        "[{&quot;id&quot;: 1, &quot;content&quot;: &quot;&quot;, &quot;meta_info&quot;: &quot;{}&quot;, "
        '&quot;recall_score&quot;: 1, &quot;more&quot;: 2}]}]"/>\n'
    )
    answer, parsed = references.parse("A\n\n" + tag)
    assert (answer, parsed[0].name, parsed[0].recall_score) == ("A", "it's", 1.0)


def test_details_say_where_a_chunk_stands() -> None:
    """The list for OpenAI's route has place and score parts where they are known, the tag's four keys always."""
    found = reference().model_copy(update={"dense": 0.5, "start": 10, "end": 14})
    [entry] = references.detailed([found], {1: 2})
    assert entry == {
        "name": "a.md",
        "chunks": [
            {"id": 1, "content": "text", "meta_info": "{}", "recall_score": 0.9, "number": 2, "document_id": 1}
            | {"start": 10, "end": 14, "dense": 0.5, "lexical": None, "sentence": None, "rerank": None}
        ],
    }
    [parsed] = references.detailed(references.parse(references.render([found]))[1], {})
    assert parsed == {"name": "a.md", "chunks": [{"id": 1, "content": "text", "meta_info": "{}", "recall_score": 0.9}]}


FORGED = "a <references b <<references <ref < references <References &lt;references<reference"


@given(st.data())
def test_a_forged_tag_is_defused_wherever_it_is_split(data: st.DataObject) -> None:
    """However a text is cut into pieces, what goes out is the text with `<references` made harmless."""
    text = data.draw(st.lists(st.sampled_from(["<", "<references", "references", "<ref", " ", "s"])).map("".join))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    by_piece, at_once = Neutraliser(), Neutraliser()
    assert "".join(map(by_piece.feed, pieces)) + by_piece.flush() == text.replace("<references", "&lt;references")
    sent = (*at_once.feed_all(tuple(filter(None, pieces))), at_once.flush())
    assert "".join(sent) == harmless(text)
    assert all(sent[:-1])


def test_only_a_beginning_tag_is_kept_back() -> None:
    """The filter holds the shortest possible tail and nothing else: a `<` that cannot become the tag goes out."""
    for cut in range(len(FORGED) + 1):
        filter_ = Neutraliser()
        sent = filter_.feed(FORGED[:cut])
        held = filter_.flush()
        assert "<references".startswith(held)
        assert sent + held == harmless(FORGED[:cut])
        longer = [tail for tail in range(1, len("<references")) if FORGED[:cut].endswith("<references"[:tail])]
        assert len(held) == max(longer, default=0)


def test_a_batch_without_a_bracket_is_passed_as_it_is() -> None:
    """The common case costs nothing: the very same tuple comes back."""
    texts = ("It", " is", " 42", ".")
    assert Neutraliser().feed_all(texts) is texts


def test_a_quotation_mark_that_is_never_closed_is_looked_for_once() -> None:
    """Not again from each of those that are escaped in it."""
    meta_info = "{'a': '" + "\\'" * 200_000
    found = ParsedReference(name="a", chunk_id=1, content="", meta_info=meta_info, recall_score=0.5, group=0)
    assert found.metadata == {}
