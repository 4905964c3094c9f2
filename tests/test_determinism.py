"""The same documents give the same hits: indexed again, in another store, and when many ask at once."""

import random
from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat.models import Reference
from kbchat.strategies import Strategy

WORDS = (
    *("key", "lock", "door", "guest", "lunch", "soup", "train", "bridge", "river"),
    *("winter", "engine", "letter", "garden", "window", "candle", "rotate", "serve"),
)
QUESTIONS = ["Which key fits the garden door?", "soup for lunch in winter", "engine", "When do we rotate a candle?"]


def documents() -> list[kbchat.TextDocument]:
    rng = random.Random(3)
    return [
        kbchat.TextDocument(
            name=f"d{number}",
            text="\n\n".join(f"{' '.join(rng.choices(WORDS, k=14)).capitalize()}." for _ in range(rng.randint(1, 40))),
        )
        for number in range(120)
    ]


def seen(found: list[Reference]) -> list[tuple[str, int, float, float | None, float | None, float | None]]:
    """All but the ids, which count on."""
    return [(it.name, it.start, it.recall_score, it.dense, it.lexical, it.sentence) for it in found]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("strategy", [Strategy.HYBRID, Strategy.LEXICAL])
async def test_to_the_last_digit(tmp_path: Path, strategy: Strategy) -> None:
    """Twice in Chroma, and in Milvus: the same chunks in the same order with the same scores."""
    results = []
    for folder, vector_type in (("one", "Chroma"), ("two", "Chroma"), ("three", "Milvus")):
        async with kbchat.KnowledgeBase(tmp_path / folder) as kb:
            space = await kb.create_space("s", vector_type=vector_type)
            await space.ingest(documents())
            found = [await space.retrieve(question, top_k=20, strategy=strategy) for question in QUESTIONS]
            results.append([seen(each) for each in found])
    assert all(len(each) == 20 for each in results[0][1:3])
    assert results[0] == results[1] == results[2]


async def test_in_company_as_alone(tmp_path: Path) -> None:
    """Questions that are searched for together find what each finds alone."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        spaces = [await kb.create_space(name) for name in ("one", "two")]
        for space in spaces:
            await space.ingest(documents()[:40])
        asked = [(space, question, top_k) for space in spaces for question in QUESTIONS for top_k in (1, 7, 60)]
        alone = [await space.retrieve(question, top_k=top_k) for space, question, top_k in asked]
        together: dict[int, list[Reference]] = {}

        async def ask(number: int) -> None:
            space, question, top_k = asked[number % len(asked)]
            together[number] = await space.retrieve(question, top_k=top_k)

        async with anyio.create_task_group() as group:
            for number in range(2 * len(asked)):
                group.start_soon(ask, number)
        assert [together[number] for number in range(2 * len(asked))] == alone * 2
