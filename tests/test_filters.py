"""Filters mean one thing, written in Python or in JSON, on whatever store the vectors are."""

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kbchat
from catalogs import opened
from kbchat import filters
from kbchat.catalog import documents
from kbchat.catalog.narrowing import All, narrowed
from kbchat.chunking import Splitting
from kbchat.errors import InvalidInputError
from kbchat.filters import And, Eq, Exists, Filter, Ge, In, Not, Or, Prefix, dump, loads, matches, parse
from kbchat.retrieval import selecting
from kbchat.stores import chroma
from kbchat.testing.catalog_samples import a_space, generation, put
from postgresql import needs_postgresql

METADATA: dict[str, Any] = {
    "lang": "de",
    "year": 2020,
    "share": 0.5,
    "draft": False,
    "tags": ["ops", "été", 7],
    "none": None,
    "nested": {"a": 1},
    "empty": [],
    "path": "docs/keys.md",
}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"field": "lang", "eq": "de"}, True),
        ({"field": "lang", "eq": "DE"}, False),
        ({"field": "lang", "ne": "de"}, False),
        ({"field": "missing", "ne": "de"}, True),
        ({"field": "missing", "eq": "de"}, False),
        ({"field": "year", "eq": 2020.0}, True),
        ({"field": "year", "eq": "2020"}, False),
        ({"field": "draft", "eq": False}, True),
        ({"field": "draft", "eq": 0}, False),
        ({"field": "year", "eq": True}, False),
        ({"field": "year", "ge": 2020}, True),
        ({"field": "year", "gt": 2020}, False),
        ({"field": "share", "lt": 1}, True),
        ({"field": "lang", "le": "de"}, True),
        ({"field": "lang", "lt": 5}, False),
        ({"field": "draft", "ge": 0}, False),
        ({"field": "lang", "in": ["en", "de"]}, True),
        ({"field": "lang", "in": []}, False),
        ({"field": "tags", "eq": "ops"}, True),
        ({"field": "tags", "ne": "ops"}, False),
        ({"field": "tags", "gt": 6}, True),
        ({"field": "tags", "prefix": "ét"}, True),
        ({"field": "none", "exists": True}, True),
        ({"field": "none", "ne": "x"}, True),
        ({"field": "empty", "exists": True}, True),
        ({"field": "empty", "eq": "x"}, False),
        ({"field": "nested", "exists": False}, False),
        ({"field": "missing", "exists": False}, True),
        ({"field": "path", "prefix": "docs/"}, True),
        ({"field": "year", "prefix": "20"}, False),
        ({"and": []}, True),
        ({"or": []}, False),
        ({"and": [{"field": "lang", "eq": "de"}, {"not": {"field": "year", "lt": 2020}}]}, True),
        ({"or": [{"field": "lang", "eq": "en"}, {"field": "missing", "lt": 1}]}, False),
    ],
    ids=str,
)
def test_what_a_filter_means(where: dict[str, Any], expected: bool) -> None:
    """Kinds do not mix, lists stand for their elements, what is missing fits nothing but a negation."""
    assert matches(parse(where), METADATA) is expected
    assert matches(parse({"not": where}), METADATA) is not expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "where: must hold exactly one of and, or"),
        ({}, "where: must hold exactly one of"),
        ({"field": "a", "eq": 1, "ne": 2}, "where: must hold exactly one of"),
        ({"and": [{"or": [{"field": "a", "is": 1}]}]}, r"where: at and\[0\].or\[0\]: must hold exactly one of"),
        ({"and": [{"field": "a", "eq": None}]}, r"where: at and\[0\].eq: must be a text, a finite number"),
        ({"not": {"field": "a", "lt": True}}, "where: at not.lt: must be a text or a finite number"),
        ({"field": "a", "eq": float("nan")}, "where: at eq: must be"),
        ({"field": "a", "gt": float("inf")}, "where: at gt: must be"),
        ({"field": 1, "eq": 1}, "where: at eq.field: "),
        ({"eq": 1}, "where: at eq.field: "),
        ({"lang": "de"}, r'where: must hold exactly one .*; write {"field": "lang", "eq": "de"}$'),
        ({"lang": ["de", "fr"]}, r'; write {"field": "lang", "in": \["de", "fr"\]}$'),
        ({"lang": "de", "year": 3}, r'write {"and": \[{"field": "lang", "eq": "de"}, {"field": "year", "eq": 3}\]}$'),
        ({"not": {"lang": "德"}}, r'where: at not: .*; write {"field": "lang", "eq": "德"}$'),
        ({"lang": object()}, "exists, prefix$"),
        ({"lang": "x" * 1000}, "exists, prefix$"),
        ({"field": "a", "eq": 1, "z": 2}, "where: at eq: Extra"),
        ({"field": "a", "in": "x"}, "where: at in: "),
        ({"field": "a", "in": list(range(5000))}, "where: at most"),
    ],
)
def test_a_filter_that_cannot_be_used_names_the_spot(value: object, message: str) -> None:
    """The error says which argument, where in it, and what should be there."""
    with pytest.raises(InvalidInputError, match=message):
        parse(value, field="where")


def test_depth_is_limited() -> None:
    """Neither a deep filter nor deep JSON text can exhaust the stack."""
    deep: dict[str, Any] = {"field": "a", "eq": 1}
    for _ in range(100):
        deep = {"not": deep}
    with pytest.raises(InvalidInputError, match="levels"):
        parse(deep)
    for text in ("[" * 100_000, "{", "", '{"field": "a", "eq": NaN}'):
        with pytest.raises(InvalidInputError):
            loads(text)


def test_filters_are_put_together_in_python() -> None:
    """`&`, `|` and `~` make what JSON makes."""
    where = (Eq(field="lang", eq="de") | Exists(field="x", exists=True)) & ~Prefix(field="path", prefix="tmp/")
    assert dump(where) == {
        "and": [
            {"or": [{"field": "lang", "eq": "de"}, {"field": "x", "exists": True}]},
            {"not": {"field": "path", "prefix": "tmp/"}},
        ]
    }
    assert parse(where) == where


FIELDS = st.sampled_from(["a", "b", "c"])
SCALARS = st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.5]) | st.text("abé中", max_size=2)
ORDERED = SCALARS.filter(lambda value: not isinstance(value, bool))
LEAVES = st.one_of(
    *(st.fixed_dictionaries({"field": FIELDS, word: SCALARS}) for word in ("eq", "ne")),
    *(st.fixed_dictionaries({"field": FIELDS, word: ORDERED}) for word in ("lt", "le", "gt", "ge")),
    st.fixed_dictionaries({"field": FIELDS, "in": st.lists(SCALARS, max_size=3)}),
    st.fixed_dictionaries({"field": FIELDS, "exists": st.booleans()}),
    st.fixed_dictionaries({"field": FIELDS, "prefix": st.text("ab", max_size=2)}),
)


def of_leaves(leaves: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Filters made of these conditions."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda parts: {"and": parts})
            | st.lists(inner, max_size=3).map(lambda parts: {"or": parts})
            | inner.map(lambda part: {"not": part})
        ),
        max_leaves=8,
    )


FILTERS = of_leaves(LEAVES)
DOCUMENTS = st.dictionaries(FIELDS, SCALARS | st.none() | st.lists(SCALARS, max_size=3))


@given(FILTERS)
def test_json_comes_back(where: dict[str, Any]) -> None:
    """What was parsed is written as it was read, truth values and numbers apart."""
    assert json.dumps(dump(parse(where)), sort_keys=True) == json.dumps(where, sort_keys=True)
    assert parse(json.loads(json.dumps(where))) == parse(where)


def holds(text: str, must: All) -> bool:
    return all(each in text for each in must.texts) and all(
        any(holds(text, part) for part in either.parts) for either in must.parts
    )


@given(FILTERS, DOCUMENTS)
def test_what_is_narrowed_loses_nothing(where: dict[str, Any], metadata: dict[str, Any]) -> None:
    """The stored metadata of whatever matches holds what the catalog looks for."""
    if matches(parse(where), metadata):
        assert holds(documents.dump(metadata), narrowed(parse(where)))


def test_what_is_narrowed() -> None:
    """Conditions that must hold narrow; what may hold otherwise, or is too much for a database, does not."""
    assert narrowed(Eq(field="a", eq="x") & Ge(field="b", ge=2)).texts == ('"a":', '"x"', '"b":')
    for where in (Not(not_=Eq(field="a", eq=1)), Or(or_=(Eq(field="a", eq=1), Not(not_=Eq(field="b", eq=1))))):
        assert narrowed(where) == All()
    assert narrowed(And(and_=tuple(Eq(field=f"f{n}", eq=n) for n in range(500)))) == All()
    assert narrowed(Eq(field="a", eq="\ud800")) == All()


@given(FILTERS, FILTERS, DOCUMENTS)
def test_words_are_logic(one: dict[str, Any], other: dict[str, Any], metadata: dict[str, Any]) -> None:
    """`and`, `or` and `not` are those of logic for every filter and document."""
    first, second = matches(parse(one), metadata), matches(parse(other), metadata)
    assert matches(parse({"and": [one, other]}), metadata) is (first and second)
    assert matches(parse({"or": [one, other]}), metadata) is (first or second)
    assert matches(parse({"not": {"and": [one, other]}}), metadata) is not (first and second)


# Letters and marks that JSON, SQL or a search in texts could stumble over; numbers that may be written in several ways.
NASTY = st.text(
    st.sampled_from("aA1.,:é中\U0001f511\"'\\\\/%_{}[] \n\x1f\u2028") | st.characters(exclude_categories=["Cs"])
)
NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.booleans() | NUMBERS | st.sampled_from([17, 17.0, 1e9, 10**9, 1e16, 10**16, -0.0, 0, 1e-7]) | NASTY
KEYS = st.sampled_from(["a", 'b"', "中", "a:"])
NASTY_METADATA = st.dictionaries(KEYS, VALUES | st.none() | st.lists(VALUES, max_size=3), max_size=3)


@st.composite
def selections(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Documents' metadata, and a filter that asks for values which are there as for others."""
    every = draw(st.lists(NASTY_METADATA, min_size=1, max_size=6))
    there = [it for each in every for value in each.values() for it in (value if isinstance(value, list) else [value])]
    value = (
        st.sampled_from([it for it in there if it is not None]) if any(it is not None for it in there) else VALUES
    ) | VALUES
    ordered = value.filter(lambda it: not isinstance(it, bool))
    texts = value.filter(lambda it: isinstance(it, str)).map(lambda it: it[: len(it) // 2 + 1]) | NASTY
    leaves = st.one_of(
        *(st.fixed_dictionaries({"field": KEYS, word: value}) for word in ("eq", "ne")),
        *(st.fixed_dictionaries({"field": KEYS, word: ordered}) for word in ("lt", "le", "gt", "ge")),
        st.fixed_dictionaries({"field": KEYS, "in": st.lists(value, max_size=3)}),
        st.fixed_dictionaries({"field": KEYS, "exists": st.booleans()}),
        st.fixed_dictionaries({"field": KEYS, "prefix": texts}),
    )
    return every, draw(of_leaves(leaves))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.server, needs_postgresql])])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a catalog is."""
    return tmp_path / "catalog" if request.param == "sqlite" else str(request.getfixturevalue("postgresql_url"))


@pytest.mark.timeout(300)
def test_a_catalog_selects_what_matches(database: Path | str) -> None:
    """Whatever it is asked to look for in texts first, a database's documents are those that plain Python selects."""
    with start_blocking_portal() as portal:
        catalog = portal.call(opened, database)

        async def select(every: list[dict[str, Any]], where: Filter) -> list[int]:
            space = await a_space(catalog, name=f"s{uuid4()}")
            new = [generation(f"d{number}", "text", metadata=it) for number, it in enumerate(every)]
            begun = await put(catalog, space, *new)
            found = await catalog.matching_documents(space.id, filters.tester(where), must=narrowed(where))
            places = {it.document_id: number for number, it in enumerate(begun)}
            return sorted(places[key] for key, _ in found)

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
        @given(selections())
        def compare(selection: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
            every, where = selection[0], parse(selection[1])
            assert portal.call(select, every, where) == [n for n, it in enumerate(every) if matches(where, it)]

        compare()
        portal.call(catalog.aclose)


@pytest.fixture
async def space(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeSpace]:
    """A hundred documents that a question finds, with metadata."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("handbook")
        await space.ingest(
            [
                kbchat.TextDocument(
                    name=f"n{number}",
                    text=f"Keys of house {number} are rotated. 第{number}把钥匙。",
                    metadata={"number": number, "even": number % 2 == 0, "tags": [f"t{number % 3}"]},
                )
                for number in range(100)
            ]
        )
        yield space


WHERE: list[Filter] = [
    Eq(field="number", eq=17),
    In(field="number", in_=(3, 99, 1000)),
    Eq(field="even", eq=True),
    Ge(field="number", ge=10) & Eq(field="tags", eq="t1"),
    Not(not_=Eq(field="tags", eq="t0")),
    Or(or_=()),
    And(and_=()),
    Eq(field="even", eq=1),
]


@pytest.mark.parametrize("few", [0, 2000], ids=["searched", "one by one"])
async def test_a_search_finds_what_the_filter_selects(
    space: kbchat.KnowledgeSpace, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """All of it and nothing else, whichever way is taken, in the order and with the parts that hits have anyway."""
    monkeypatch.setattr(selecting, "FEW_CHUNKS", few)
    every = await space.retrieve("How are keys rotated?", top_k=100)
    assert len(every) == 100
    for where in WHERE:
        found = await space.retrieve("How are keys rotated?", top_k=100, where=where)
        expected = [hit for hit in every if matches(where, hit.metadata)]
        assert {hit.name for hit in found} == {hit.name for hit in expected}, where
        assert found == await space.retrieve("How are keys rotated?", top_k=100, where=dump(where))  # type: ignore[arg-type]
        lexical = {hit.name: hit.lexical for hit in every}
        assert {hit.name: hit.lexical for hit in found} == pytest.approx({hit.name: lexical[hit.name] for hit in found})


@pytest.mark.timeout(300)
@pytest.mark.leaves("the space is used by every example, and closed after them")
def test_documents_of_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any filter that selects some of thousands of chunks finds of these as many as asked for, and of these alone."""
    monkeypatch.setattr(selecting, "FEW_CHUNKS", 0)
    monkeypatch.setattr(chroma._Collection, "few_ids", 0)
    documents = [
        kbchat.TextDocument(
            name=f"n{number}",
            text="\n\n".join(f"Key {number * room % 97} opens room {room} of house {number}." for room in range(50)),
            metadata={"a": number % 2 == 0, "b": number % 3, "c": [number % 3, ("a", "ab", "中")[number % 3]]},
        )
        for number in range(60)
    ]
    question = "Which key opens room 7 of house 40?"
    with start_blocking_portal() as portal:
        kb = portal.call(kbchat.KnowledgeBase(tmp_path / "data").__aenter__)
        space = portal.call(kb.create_space, "handbook")
        portal.call(partial(space.ingest, documents, splitting=Splitting(max_tokens=16, merge=False)))
        every = portal.call(partial(space.retrieve, question, top_k=1000, strategy="dense"))
        assert portal.call(space.refresh).chunk_count > 2900

        @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
        @given(FILTERS)
        def compare(where: dict[str, Any]) -> None:
            selected = {document.name for document in documents if matches(parse(where), document.metadata)}
            found = portal.call(partial(space.retrieve, question, top_k=30, where=where))
            assert {hit.name for hit in found} <= selected
            assert len(found) == (30 if selected else 0)
            best = [hit.chunk_id for hit in every if hit.name in selected][:3]
            dense = portal.call(partial(space.retrieve, question, top_k=30, where=where, strategy="dense"))
            assert [hit.chunk_id for hit in dense][: len(best)] == best

        compare()
        portal.call(kb.aclose)


async def test_selections_are_remembered_by_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again at the same revision a filter selects the very same; all that is remembered has only so many ids."""
    monkeypatch.setattr(selecting, "REMEMBERED_IDS", 12)
    catalog = await opened(tmp_path / "catalog")
    space = await a_space(catalog)
    await put(catalog, space, *(generation(f"d{number}", "text", metadata={"n": number}) for number in range(20)))
    space = await catalog.get_space(space.id)
    selector = selecting.Selector(catalog=catalog)
    six, five, all_of_it = Ge(field="n", ge=14), Ge(field="n", ge=15), Exists(field="n", exists=True)
    first, second = await selector.select(space, six), await selector.select(space, five)
    assert (first.documents, len(first.chunks), first.share) == (6, 6, 6 / 20)
    assert await selector.select(space, six) is first
    assert len((await selector.select(space, Ge(field="n", ge=18))).chunks) == 2
    assert await selector.select(space, six) is first
    assert await selector.select(space, five) is not second
    whole = await selector.select(space, all_of_it)
    assert len(whole.chunks) == 20
    assert await selector.select(space, all_of_it) is whole
    assert await selector.select(space, six) is not first
    await catalog.aclose()


async def test_a_filter_follows_the_documents(space: kbchat.KnowledgeSpace) -> None:
    """Changed metadata and removed documents count at once; an answer is made of what the filter selects."""
    where = {"field": "number", "eq": 17}
    assert [hit.name for hit in await space.retrieve("keys", where=where)] == ["n17"]
    answer = await space.chat("How are the keys of house rotated?", where=where)
    assert {reference.name for reference in answer.references} <= {"n17"}
    await space.ingest(kbchat.TextDocument(name="n3", text="Keys.", metadata={"number": 17}))
    assert {hit.name for hit in await space.retrieve("keys", where=where)} == {"n17", "n3"}
    await space.delete_document("n17")
    assert [hit.name for hit in await space.retrieve("keys", where=where)] == ["n3"]
    with pytest.raises(InvalidInputError, match="where: at eq"):
        await space.retrieve("keys", where={"field": "number", "eq": None})


def test_no_store_is_asked_for_more_than_it_answers() -> None:
    """Retrieval's deepest search is the stores' own limit."""
    from kbchat.retrieval.searching import DEEPEST
    from kbchat.stores.records import MAX_LIMIT

    assert DEEPEST == MAX_LIMIT
