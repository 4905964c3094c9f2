"""The cases that `benchmarks/citations.py` has checked: true sentences of the evaluation sets, and spoilt ones."""

import csv
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kbchat.models import LoadedDocument
from kbchat.text.splitting import split


class Case(NamedTuple):
    kind: str
    language: str
    origin: str
    sentence: str
    passage: str
    changed: str = ""


class Text(NamedTuple):
    origin: str
    language: str
    name: str
    text: str


def make(data: Path, each: int, rng: random.Random) -> Iterator[Case]:
    for language, texts in (("en", english(data)), ("zh", chinese(data))):
        pieces = [piece for text in texts for piece in passages(text)]
        rng.shuffle(pieces)
        yield from take(extracts(pieces, rng), each)
        yield from take(foreign(pieces, rng), each)
        names = name_pool(pieces, language) if language == "en" else answer_names(data)
        yield from take(numbers_changed(pieces, rng), each)
        yield from take(names_changed(pieces, names, rng), each)
        yield from take(negated(pieces, rng), each)
        yield from take(affirmed(pieces, rng), each)
    yield from paraphrases(data)
    yield from take(answered(data, rng), each)


def take(cases: Iterator[Case], each: int) -> Iterator[Case]:
    """The same number from each origin where there are enough."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if len(found[case.origin]) < each:
            found[case.origin].append(case)
    share = -(-each // max(1, len(found)))
    for some in found.values():
        yield from some[:share]


def clean(text: str) -> str:
    """Undo the token spacing of the Wikipedia set."""
    text = re.sub(r" @(.)@ ", r"\1", text)
    return re.sub(r" ([,.;:!?)]|'s\b)", r"\1", text).replace("( ", "(")


def english(data: Path) -> list[Text]:
    corpora = data / "chroma-chunking" / "corpora"
    texts = [
        Text(name, "en", name, clean((corpora / f"{name}.md").read_text())[:120_000])
        for name in ("state_of_the_union", "wikitexts", "finance", "pubmed")
    ]
    texts += [Text("cranfield", "en", key, clean(text)) for key, text in corpus(data / "cranfield")][:300]
    texts += [Text("dbgpt", "en", *named) for named in pages(data / "dbgpt-docs")]
    return texts + [Text("fastapi", "en", *named) for named in pages(data / "fastapi-docs" / "en")]


def chinese(data: Path) -> list[Text]:
    texts = [Text("cmrc", "zh", key, text) for key, text in corpus(data / "cmrc2018-trial")]
    return texts + [Text("fastapi", "zh", *named) for named in pages(data / "fastapi-docs" / "zh")]


def corpus(folder: Path) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    return [(row["_id"], row["text"]) for row in rows]


def pages(folder: Path) -> list[tuple[str, str]]:
    found = [path for path in sorted(folder.rglob("*.md")) if path.name != "release-notes.md"]
    return [(str(path.relative_to(folder)), path.read_text()) for path in found]


class Piece(NamedTuple):
    origin: str
    language: str
    name: str
    text: str


def passages(text: Text) -> list[Piece]:
    spans = split(LoadedDocument(text=text.text, metadata={}, markup="markdown"))
    return [Piece(text.origin, text.language, text.name, text.text[span.start : span.end]) for span in spans]


EN_SENTENCE = re.compile(r"(?:(?<=[.!?] )|(?<=\n)|^)[A-Za-z\"][^\n|<>{}=`\[\]#]{50,260}?[a-z0-9)%\"][.!?](?=\s|$)")
ZH_SENTENCE = re.compile(r"(?:(?<=[。！？\n])|^)[^。！？\n`|<>\[\]#]{14,90}[。！？]")


def sentences(piece: Piece, rng: random.Random) -> list[str]:
    pattern = EN_SENTENCE if piece.language == "en" else ZH_SENTENCE
    found = pattern.findall(piece.text)
    rng.shuffle(found)
    return [sentence.strip() for sentence in found[:2]]


def extracts(pieces: Sequence[Piece], rng: random.Random) -> Iterator[Case]:
    for piece in pieces:
        for sentence in sentences(piece, rng):
            yield Case("extract", piece.language, piece.origin, sentence, piece.text)


def foreign(pieces: Sequence[Piece], rng: random.Random) -> Iterator[Case]:
    """Each cites a passage of another document of its set; where that has but one document, another passage."""
    sets = defaultdict(list)
    for piece in pieces:
        sets[piece.origin].append(piece)
    several = {origin for origin, found in sets.items() if len({piece.name for piece in found}) > 1}
    for piece in pieces:
        other = rng.choice(sets[piece.origin])
        if other.text == piece.text or (piece.origin in several and other.name == piece.name):
            continue
        for sentence in sentences(piece, rng)[:1]:
            if sentence not in other.text:
                yield Case("passage", piece.language, piece.origin, sentence, other.text)


DIGITS = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w.,]*\d)|(?<=[\u4e00-\u9fff])\d+(?:\.\d+)?")
EN_NUMERALS = [
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "twelve",
    "twenty",
    "thirty",
    "forty",
    "fifty",
]
ZH_NUMERAL = re.compile(r"(?<![一二三四五六七八九十])[四五六七八九](?=[个名位年月日次岁种部人座条])")


def numbers_changed(pieces: Sequence[Piece], rng: random.Random) -> Iterator[Case]:
    for piece in pieces:
        for sentence in sentences(piece, rng):
            found = list(DIGITS.finditer(sentence))
            if found:
                match = rng.choice(found)
                new = other_number(match[0], rng)
            else:
                words = re.finditer(rf"\b(?:{'|'.join(EN_NUMERALS)})\b", sentence)
                found = [*words, *ZH_NUMERAL.finditer(sentence)]
                if not found:
                    continue
                match = rng.choice(found)
                pool = EN_NUMERALS if match[0] in EN_NUMERALS else list("四五六七八九")
                new = rng.choice([word for word in pool if word != match[0]])
            changed = sentence[: match.start()] + new + sentence[match.end() :]
            yield Case("number", piece.language, piece.origin, changed, piece.text, f"{match[0]}>{new}")


def other_number(old: str, rng: random.Random) -> str:
    """One or all digits changed."""
    while True:
        if rng.random() < 0.5:
            places = [at for at, char in enumerate(old) if char.isdigit()]
            at = rng.choice(places)
            new = old[:at] + rng.choice("123456789") + old[at + 1 :]
        else:
            new = "".join(rng.choice("123456789") if char.isdigit() else char for char in old)
        if new != old:
            return new


EN_NAME = re.compile(r"(?<=[a-z,] )(?:[A-Z][a-z]{2,}|[A-Z]{2,}[a-z]*)(?: [A-Z][a-z]{2,})*")


def name_pool(pieces: Sequence[Piece], language: str) -> list[tuple[str, str]]:
    """Names of proper nouns: never written small in the set, seen at least twice within sentences."""
    text = "\n".join(piece.text for piece in pieces)
    small = set(re.findall(r"\b[a-z]+\b", text))
    counts: Counter[str] = Counter()
    for piece in pieces:
        counts.update(EN_NAME.findall(piece.text))
    return [(name, "") for name, count in counts.items() if count > 1 and not {w.lower() for w in name.split()} & small]


WHO = re.compile(r"谁|哪位|何人|哪里|哪儿|何处|哪个国家|哪国|哪个城市|什么名字|叫什么|哪所|哪个大学|什么公司|哪家")


COMMON = [
    "中场",
    "总理",
    "君主",
    "刑部",
    "法语",
    "一所神学院",
    "世袭统治者",
    "凉茶店",
    "圣甲虫",
    "加拿大总督",
    "王后",
    "中国",
    "内台航线",
]
"""Answers to who and where that are no names."""


def answer_names(data: Path) -> list[tuple[str, str]]:
    """Short answers to who and where."""
    rows = [json.loads(line) for line in (data / "cmrc2018-trial" / "queries.jsonl").read_text().splitlines()]
    found = []
    for row in rows:
        kind = "who" if re.search("谁|哪位|何人", row["text"]) else "where"
        for answer in row["answers"][:1]:
            name = re.fullmatch(r"[\u4e00-\u9fff·]{2,8}", answer) and not re.search("[的是在于和了]", answer)
            if WHO.search(row["text"]) and name:
                found.append((answer, kind))
    return sorted(set(found) - {(word, kind) for word in COMMON for kind in ("who", "where")})


def names_changed(pieces: Sequence[Piece], names: Sequence[tuple[str, str]], rng: random.Random) -> Iterator[Case]:
    for piece in pieces:
        for sentence in sentences(piece, rng):
            found = [name for name in names if re.search(_bounded(name[0]), sentence)]
            if not found:
                continue
            old, kind = rng.choice(sorted(found, key=lambda name: -len(name[0]))[:2])
            others = [name for name, other in names if other == kind and name not in piece.text and old not in name]
            words = len(old.split())
            others = [name for name in others if len(name.split()) == words and not _shares(name, old)]
            if not others:
                continue
            new = rng.choice(others)
            changed = re.sub(_bounded(old), new, sentence)
            yield Case("name", piece.language, piece.origin, changed, piece.text, f"{old}>{new}")


def _bounded(name: str) -> str:
    return rf"\b{re.escape(name)}\b" if name.isascii() else re.escape(name)


def _shares(name: str, old: str) -> bool:
    return bool(set(name.split()) & set(old.split()))


EN_INSERT = re.compile(r"\b(is|are|was|were|can|could|will|would|should|must|may|has been|have been)\b(?! not|n't)")
ZH_INSERT = re.compile(r"(?<![不没还只但就也可若凡总于便而或算正])(是(?!否|指)|能够|可以|会(?=[^议员社谈场长计所晤]))")
EN_DELETE = re.compile(r" not\b(?! only)|n['’]t\b|\bnever |(?<=\b(?:is|as|ve|ad|re) )no (?=[a-z])")
ZH_DELETE = re.compile(r"(?<=[\u4e00-\u9fff])(?:不(?=[能会是可再需必应允支存])|没有|未能|从未|并非|未(?=[曾能有被]))")


def negated(pieces: Sequence[Piece], rng: random.Random) -> Iterator[Case]:
    for piece in pieces:
        for sentence in sentences(piece, rng):
            if piece.language == "en":
                found = list(EN_INSERT.finditer(sentence))
                insert = " not" if rng.random() < 0.8 else " never"
            else:
                found = list(ZH_INSERT.finditer(sentence))
                insert = "不"
            if not found:
                continue
            match = rng.choice(found)
            at = match.start() if insert == "不" else match.start() + len(match[0].split()[0])
            changed = sentence[:at] + insert + sentence[at:]
            yield Case("negation", piece.language, piece.origin, changed, piece.text, f"+{insert} {match[0]}")


def affirmed(pieces: Sequence[Piece], rng: random.Random) -> Iterator[Case]:
    pattern = EN_DELETE if pieces[0].language == "en" else ZH_DELETE
    for piece in pieces:
        for sentence in sentences(piece, rng):
            found = list(pattern.finditer(sentence))
            if found:
                match = rng.choice(found)
                changed = sentence[: match.start()] + sentence[match.end() :]
                yield Case("negation", piece.language, piece.origin, changed, piece.text, f"-{match[0]}")


def paraphrases(data: Path) -> Iterator[Case]:
    """Those written by hand, and each of them once more with a number changed."""
    path = Path(__file__).with_name("paraphrases.tsv")
    rng = random.Random(3)
    for name, offset, sentence in csv.reader(path.open(), delimiter="\t"):
        file, _, key = name.partition("#")
        text = dict(corpus((data / file).parent))[key] if key else (data / file).read_text()
        language = "zh" if re.search("[\u4e00-\u9fff]", sentence) else "en"
        spans = split(LoadedDocument(text=text, metadata={}, markup="markdown"))
        start = next(span.start for span in spans if span.end > int(offset))
        # A passage ends with its sentence, also where a chunk does not.
        passage = text[start : max(int(offset) + 300, next(span.end for span in spans if span.end > int(offset)))]
        passage = clean(passage)
        yield Case("paraphrase", language, "by hand", sentence, passage)
        if found := list(DIGITS.finditer(sentence)):
            match = rng.choice(found)
            new = other_number(match[0], rng)
            changed = sentence[: match.start()] + new + sentence[match.end() :]
            yield Case("number", language, "paraphrased", changed, passage, f"{match[0]}>{new}")


ASKED = re.compile(r"(?:是)?(?:什么时候|什么名字|什么|多少|谁|哪里|哪儿|哪一年|何时|哪年|哪国|何地|何处)")


def answered(data: Path, rng: random.Random) -> Iterator[Case]:
    """Questions with the known answer in place of what they ask for: true. With another number or name: spoilt."""
    folder = data / "cmrc2018-trial"
    texts = dict(corpus(folder))
    relevant = dict(row.split("\t")[:2] for row in (folder / "qrels.tsv").read_text().splitlines()[1:])
    rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    names = answer_names(data)
    for row in rows:
        answer = row["answers"][0]
        asked = ASKED.search(row["text"])
        if len(answer) > 25 or not asked or len(ASKED.findall(row["text"])) > 1:
            continue
        text = texts[relevant[row["_id"]]]
        spans = split(LoadedDocument(text=text, metadata={}))
        passage = max((text[span.start : span.end] for span in spans), key=lambda some: (answer in some, len(some)))

        def fill(with_: str, question: str = row["text"], where: re.Match[str] = asked) -> str:
            verb = "是" if where[0].startswith("是") else ""
            return question[: where.start()] + verb + with_ + question[where.end() :].rstrip("？?。") + "。"

        yield Case("paraphrase", "zh", "answered", fill(answer), passage)
        if found := list(DIGITS.finditer(answer)):
            match = rng.choice(found)
            new = other_number(match[0], rng)
            changed = answer[: match.start()] + new + answer[match.end() :]
            yield Case("number", "zh", "answered", fill(changed), passage, f"{match[0]}>{new}")
        kinds = [kind for name, kind in names if name == answer]
        if kinds:
            new = rng.choice([name for name, kind in names if kind == kinds[0] and name not in text])
            yield Case("name", "zh", "answered", fill(new), passage, f"{answer}>{new}")
