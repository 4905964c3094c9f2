"""Answers without a model: the passages' own sentences, chosen by the question, each with its number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbchat.citations import CitationChecker
from kbchat.generators import Generated
from kbchat.generators.extractive import SENTENCES, ExtractiveGenerator
from kbchat.models import Message, Passage, Prompt, Reference, Sampling
from kbchat.prompting import merge
from kbchat.text.tokens import estimate

HANDBOOK = """# Keys

Every employee gets a key. Keys are rotated every ninety days by the security team.
Lost keys must be reported at once.

## Visitors

Visitors get a badge. The badge is returned in the evening.
"""
ENGLISH_NOTHING = "I found nothing in the documents that answers this question."


def passages(*contents: str, scores: tuple[float, ...] = (), start: int = 0) -> tuple[Passage, ...]:
    return merge(
        [
            Reference(
                name=f"doc{number}",
                document_id=number,
                chunk_id=number,
                content=content,
                start=start,
                end=start + len(content),
                recall_score=score,
            )
            for number, (content, score) in enumerate(zip(contents, scores or (0.9,) * len(contents), strict=True), 1)
        ]
    )


async def generated(
    question: str, found: tuple[Passage, ...], *, grounded: bool = True, sampling: Sampling | None = None
) -> list[Generated]:
    prompt = Prompt(
        messages=(Message(role="user", content=question),), question=question, passages=found, grounded=grounded
    )
    async with ExtractiveGenerator().stream(prompt, sampling or Sampling()) as pieces:
        return [piece async for piece in pieces]


async def answer(question: str, found: tuple[Passage, ...] = (), *, grounded: bool = True) -> str:
    pieces = await generated(question, found, grounded=grounded)
    return "".join(text for piece in pieces for text in piece.texts)


async def test_the_sentence_that_answers() -> None:
    """The best one is there, with its number; headings are not answers."""
    text = await answer("How often are keys rotated?", passages(HANDBOOK))
    assert "Keys are rotated every ninety days by the security team. [1]" in text
    assert "#" not in text
    assert text.count("[1]") <= SENTENCES


async def test_code_is_quoted_where_words_say_nothing() -> None:
    """Not beside sentences that answer, however well it fits."""
    text = "Keys are rotated every ninety days.\n\n```python\nkeys.rotate(every=days(90))\n```\n\nLunch is at noon."
    assert "days(90)" not in await answer("How often are keys rotated?", passages(text))
    only = "Lunch is at noon.\n\n```python\nkeys.rotate(every=days(90))\n```\n"
    assert "keys.rotate(every=days(90))" in await answer("How are the keys rotated?", passages(only))


PROSE = "The owner of the encryption keys is Ann Baker."
LINES = "client.rotate(encryption.keys)\nclient.owner(encryption.keys)"


@pytest.mark.parametrize(
    "content",
    [
        f"{LINES}\n```\n\n{PROSE}",
        f"{LINES}\n~~~\n{PROSE}\n~~~\nencryption.keys.owner\n~~~",
        f"{LINES}\n```\n\n{PROSE}\n\n```python\n{LINES}\n```",
        f"{LINES}\n```\n\n{PROSE}\n\n```python\n{LINES}",
        f"```\n\n{PROSE}",
        f"{PROSE}\n\n```\n{LINES}",
        f"{PROSE}\nLike this:\n```\n{LINES}",
        f"{PROSE}\n\n```python\n{LINES}",
        f"{PROSE}\n\n````\n```\n{LINES}\n````",
    ],
    ids=["ends", "paired", "and again", "and is cut", "nothing left", "begins", "colon", "language", "fence in fence"],
)
async def test_a_chunk_cut_in_code(content: str) -> None:
    """Where it begins in code or ends in it, what stands outside of the fences is prose and what is inside is code."""
    text = await answer("Who is the owner of the encryption keys?", passages(content, start=900))
    assert PROSE in text
    assert "client" not in text
    assert "keys.owner" not in text


async def test_code_within_a_line_is_no_fence() -> None:
    """What follows such a line is prose."""
    text = await answer("Who is the owner of the keys?", passages(f"Keys open doors.\n\n```keys```\n\n{PROSE}"))
    assert PROSE in text


async def test_a_document_begins_with_prose() -> None:
    """A fence without an end there does not close anything."""
    text = await answer("Who is the owner of the encryption keys?", passages(f"{PROSE}\n```\n{LINES}"))
    assert text.startswith(f"{PROSE} [1]")
    assert "client" not in text


@pytest.mark.parametrize(
    ("content", "question", "said"),
    [
        (
            "A lamp was invented by Ann Smith in 1904.[2] It was sold in Paris [2][3], not in Rome [1, 4]. [5] Yes.",
            "Who invented a lamp, and was it sold in Paris?",
            "A lamp was invented by Ann Smith in 1904. [1] It was sold in Paris, not in Rome. [1] Yes. [1]",
        ),
        (
            "密钥每九十天轮换一次。[2]轮换由安全团队负责【3】。",
            "密钥多久轮换一次？由谁负责轮换？",
            "密钥每九十天轮换一次。[1] 轮换由安全团队负责。[1]",
        ),
        ("The lamp [[2]3] is green.", "Which lamp is green?", "The lamp is green. [1]"),
        ("The lamp is one of `lamps[2]`.", "Which lamp is it?", "The lamp is one of `lamps[2]`. [1]"),
        ("# Shelf\n\n```\nlamp = lamps[2]\n```", "Which lamp?", "`lamp = lamps[2]` [1]"),
    ],
    ids=["English", "Chinese", "nested", "code within", "code"],
)
async def test_marks_of_the_documents_own(content: str, question: str, said: str) -> None:
    """They are no citations: each sentence cites its own passage alone, which the check finds it in."""
    found = passages(content, "Lunch.", "Dinner.")
    text = await answer(question, found)
    assert text == said
    checker = CitationChecker(found)
    cited = checker.feed(text) + checker.flush()
    assert len(cited) == text.count("[1]")
    for it in cited:
        assert it.number == 1
        assert it.supported
        assert text[it.answer_start : it.answer_end].strip("`.。")[:9] in content[it.start : it.end]


async def test_marks_within_marks_have_an_end() -> None:
    """A document that means harm costs no more than another."""
    text = await answer("Which lamp is green?", passages(f"The lamp {'[1' * 3000}{']' * 3000} is green."))
    assert text.startswith("The lamp [1")


async def test_sentences_stand_in_reading_order() -> None:
    """Each with the number of its passage, passages apart."""
    found = passages(
        "The wall is high. Wind tunnels were used.", "Nothing here. Wind speed was 5 m/s.", scores=(0.8, 0.9)
    )
    assert await answer("wind tunnel wall speed", found) == (
        "Wind speed was 5 m/s. [1]\n\nThe wall is high. [2] Wind tunnels were used. [2]"
    )


async def test_chinese() -> None:
    """The same in Chinese, numbers set as Chinese sets them."""
    found = passages("公司成立于1998年。密钥每九十天轮换一次，由安全团队负责。访客领取胸牌。食堂在二楼。停车场在地下。")
    text = await answer("密钥多久轮换一次？", found)
    assert "密钥每九十天轮换一次，由安全团队负责。[1]" in text


async def test_a_question_is_answered_by_what_follows_it() -> None:
    """In a list of questions and answers the question itself is no answer."""
    found = passages("Where is the canteen?\nOn the second floor.\n\nWhere do visitors park?\nBehind the house.\n")
    text = await answer("Where do visitors park?", found)
    assert "Behind the house. [1]" in text
    assert "?" not in text


async def test_words_before_code() -> None:
    """A line of code that repeats the question's words does not push out sentences that hold as many."""
    code = 'client.chat(task="rotate_keys", space={keys: rotated});'
    prose = "Security rotates keys. A key that was rotated is void. Nobody rotates keys of visitors."
    text = await answer("How are keys rotated?", passages(f"{code}\n\n{prose}\n"))
    assert text == prose.replace(". ", ". [1] ") + " [1]"
    assert await answer("How are keys rotated?", passages(code)) == f"{code} [1]"


async def test_nothing_is_said_twice() -> None:
    """A sentence that two documents share is cited from the better one."""
    text = await answer("How are keys rotated?", passages("Keys rotate.", "Keys rotate. Yes.", scores=(0.7, 0.9)))
    assert text == "Keys rotate. [1] Yes. [1]"


async def test_no_word_in_common() -> None:
    """Found by other means than words: the beginning of the best passage."""
    found = passages("Eins. Zwei.", "Uno. Due. Tre. Quattro.", scores=(0.6, 0.9))
    assert await answer("keys rotation", found) == "Uno. [1] Due. [1] Tre. [1]"


@pytest.mark.parametrize(
    ("question", "grounded", "words"),
    [
        ("What is the answer?", True, ENGLISH_NOTHING),
        ("答案是什么？", True, "在文档中没有找到"),
        ("Hello", False, "KBCHAT_LLM_BASE_URL"),
        ("你好", False, "KBCHAT_LLM_BASE_URL"),
    ],
)
async def test_nothing_to_answer_from(question: str, grounded: bool, words: str) -> None:
    """Said plainly, in the question's language; without a space it says what to set."""
    text = await answer(question, grounded=grounded)
    assert words in text
    assert "[1]" not in text


async def test_passages_without_a_sentence() -> None:
    """Rules and dashes hold no answer either."""
    assert await answer("What is the answer?", passages("---\n***")) == ENGLISH_NOTHING


async def test_it_comes_in_pieces_about_a_word_long() -> None:
    """With one finish reason, none of them empty, and without pretended waiting: all at once."""
    [piece] = await generated("How often are keys rotated?", passages(HANDBOOK))
    assert len(piece.texts) > 10
    assert all(piece.texts)
    assert piece.finish_reason == "stop"


@pytest.mark.parametrize("max_tokens", [1, 5, 12, 1000])
async def test_the_length_asked_for(max_tokens: int) -> None:
    """`max_tokens` ends the answer there and says so."""
    whole = await answer("How often are keys rotated?", passages(HANDBOOK))
    [piece] = await generated(
        "How often are keys rotated?", passages(HANDBOOK), sampling=Sampling(max_tokens=max_tokens)
    )
    text = "".join(piece.texts)
    assert whole.startswith(text)
    assert piece.finish_reason == ("stop" if text == whole else "length")
    assert estimate(text) <= max(max_tokens, 3)
    assert (text == whole) == (max_tokens == 1000)


async def test_stop_words() -> None:
    """The answer ends before the first of them."""
    [piece] = await generated(
        "How often are keys rotated?", passages(HANDBOOK), sampling=Sampling(stop=("ninety", "days"))
    )
    assert "".join(piece.texts).endswith("rotated every ")
    assert piece.finish_reason == "stop"


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3))
async def test_any_question_and_any_text(question: str, contents: list[str]) -> None:
    """Something is said, and every sentence is one of the passages'."""
    found = passages(*(content or "." for content in contents))
    text = await answer(question, found)
    assert text.strip()
    joined = " ".join(" ".join(passage.content.split()) for passage in found)
    if text not in (ENGLISH_NOTHING, await answer(question)):
        for sentence in text.split("]"):
            said = sentence.rpartition("[")[0].strip()
            assert " ".join(said.split()) in joined or set("[【［") & set(joined)
