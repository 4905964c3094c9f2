"""Ids to look among, and the search that looks deeper for them, against plain lists."""

import anyio
from hypothesis import given
from hypothesis import strategies as st

from kbchat.stores import VectorHit
from kbchat.stores.among import Ids, look_deeper

KEYS = st.integers(0, 40) | st.sampled_from([2**53 + 1, 2**63 - 2, 2**63 - 1])


@given(st.lists(KEYS), st.lists(KEYS), st.integers(1, 5))
def test_ids_are_a_sorted_set(keys: list[int], others: list[int], size: int) -> None:
    """Of whatever order and however often given; of them hits are kept in the order they have."""
    ids = Ids(keys)
    assert list(ids) == sorted(set(keys)) == [ids[place] for place in range(len(ids))]
    assert [key in ids for key in others] == [key in keys for key in others]
    assert [key for part in ids.parts(size) for key in part] == list(ids)
    assert -1 not in ids
    assert 2**63 not in ids
    assert Ids.of(ids) is ids
    hits = [VectorHit(key, 0.5) for key in others]
    assert ids.keep(hits) == [hit for hit in hits if hit.id in keys]


@given(st.permutations(range(30)), st.sets(st.integers(0, 40)), st.integers(0, 12), st.integers(0, 40))
def test_looking_deeper_finds_the_best_or_says_so(order: list[int], chosen: set[int], limit: int, most: int) -> None:
    """It finds what a loop over all hits would keep; it asks for more each time, and never for more than may be."""
    every = [VectorHit(key, 1.0 - place / 30) for place, key in enumerate(order)]
    asked: list[int] = []

    async def search(depth: int) -> list[VectorHit]:
        asked.append(depth)
        return every[:depth]

    async def look() -> list[VectorHit] | None:
        return await look_deeper(search, Ids(chosen), limit=limit, size=30, most=most)

    found = anyio.run(look)
    expected = [hit for hit in every if hit.id in chosen][:limit]
    assert all(depth <= most for depth in asked)
    assert asked == sorted(set(asked))
    if found is None:
        assert not asked or (asked[-1] == most and len([hit for hit in every[:most] if hit.id in chosen]) < limit)
    else:
        assert found == expected
