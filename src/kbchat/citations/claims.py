"""What a text says at which place: its words, names, numbers and negations, with offsets. Pure.

Both sides of a comparison go through `read`, an answer's sentence and the passage it cites, so that what is equal in
meaning by rule alone (stems, spelt numbers, full-width signs) is equal here.
"""

import re
from bisect import bisect_left, bisect_right
from functools import cached_property
from typing import Literal, NamedTuple

from kbchat.citations import numbers
from kbchat.citations.numbers import Number
from kbchat.text import sentences
from kbchat.text.analysis import MARKS, PAIRED, STOP_WORDS, analyse

Kind = Literal["word", "name", "opening", "char"]
Language = Literal["english", "other", "unspaced"]


class Unit(NamedTuple):
    """A word, or one character where words are not separated."""

    start: int
    end: int
    kind: Kind
    """`name`: capitalised within a sentence, or at its beginning and not known to begin sentences; an acronym, an
    identifier. `opening`: any other word at the beginning of a sentence."""
    key: str
    weight: float


class Negation(NamedTuple):
    """A word that denies, and what it denies: the keys after it, and those before it."""

    start: int
    end: int
    focus: tuple[str, ...]
    before: tuple[str, ...]


class Text:
    """A text taken apart."""

    def __init__(self, text: str) -> None:
        self.text = text.translate(_HALF_WIDTH)  # One character for one: offsets hold.

    @cached_property
    def numbers(self) -> list[Number]:
        return numbers.find(self.text)

    @cached_property
    def dates(self) -> list[tuple[Number, Number]]:
        return numbers.dates(self.text, self.numbers)

    @cached_property
    def units(self) -> list[Unit]:
        """Words and characters but for stop words and numbers in digits."""
        found: list[Unit] = []
        opening = True
        for match in _TOKEN.finditer(self.text):
            if word := match["word"]:
                if unit := _word(word, match.start(), opening):
                    found.append(unit)
                opening = False
            elif match["run"]:
                found.extend(
                    Unit(match.start() + at, match.start() + at + 1, "char", char, 0.0 if char in _FUNCTION else 0.5)
                    for at, char in enumerate(match[0])
                )
                opening = False
            else:
                opening = True
        return _without_capitals(found) if _is_title(found) else found

    @cached_property
    def keys(self) -> frozenset[str]:
        """Keys of its words, and its pairs of adjacent characters."""
        words = {unit.key for unit in self.units if unit.kind != "char"}
        return frozenset(words | {self.text[unit.start : unit.start + 2] for unit in self.units if unit.kind == "char"})

    @cached_property
    def negations(self) -> list[Negation]:
        return [*_negated_words(self), *_negated_chars(self)]

    @cached_property
    def denies(self) -> bool:
        """Whether anything in it denies, be it a word that only implies it ("unable", "lacks", "拒绝")."""
        return bool(self.negations) or _IMPLIED.search(self.text) is not None

    @cached_property
    def sentences(self) -> list[tuple[int, int]]:
        """Where its sentences stand."""
        return sentences.split(self.text)

    @cached_property
    def language(self) -> Language | None:
        """What it is written in, as far as it matters for comparing; None for tables, code and what is too short."""
        unspaced = sum(map(len, _RUN.findall(self.text)))
        words = _LATIN.findall(self.text)
        if unspaced > sum(map(len, words)):
            return "unspaced"
        if len(words) < _LEAST_WORDS:
            return None
        lowered = [word.lower() for word in words]
        if sum(word in STOP_WORDS for word in lowered) > 0.2 * len(words):
            return "english"
        return "other" if sum(word in _FOREIGN for word in lowered) > 0.1 * len(words) else None


def _word(word: str, start: int, opening: bool) -> Unit | None:
    head = word.replace("’", "'").partition("'")[0]
    if not head or word.lower() in STOP_WORDS or head.lower() in STOP_WORDS:
        return None
    terms = analyse(head).unigrams
    key = terms[0] if terms else head.lower()
    if any(char.isdigit() for char in head):
        if head[0].isdigit() and numbers.find(head):
            return None  # A number and its unit.
        return Unit(start, start + len(head), "name", key, 1.5)
    if not head[0].isupper():
        kind: Kind = "name" if "_" in head or any(map(str.isupper, head)) else "word"
    elif len(head) > 1 and any(map(str.isupper, head[1:])):
        kind = "name"
    else:
        common = len(head) == 1 or (opening and (head.lower() in _OPENERS or head.lower().endswith(_ENDINGS)))
        kind = "opening" if common else "name"
    return Unit(start, start + len(head), kind, key, 1.0 if kind == "word" else 1.25)


def _is_title(units: list[Unit]) -> bool:
    """Where most words are capitals, as in titles and in German, capitals tell nothing."""
    words = [unit for unit in units if unit.kind != "char"]
    return len(words) > 3 and sum(unit.kind in ("name", "opening") for unit in words) > 0.75 * len(words)


def _without_capitals(units: list[Unit]) -> list[Unit]:
    return [unit._replace(kind="word") if unit.kind == "name" else unit for unit in units]


def _negated_words(text: Text) -> list[Negation]:
    words = [unit for unit in text.units if unit.kind != "char"]
    starts, keys = [unit.start for unit in words], [unit.key for unit in words]
    clause_ends = _ends(_CLAUSE_END, text.text)
    found = []
    for match in _NEGATION.finditer(text.text):
        start, end = match.span()
        first, last = bisect_left(starts, end), bisect_left(starts, _next(clause_ends, end))
        near, upto = bisect_right(starts, start - _NEAR), bisect_left(starts, start)
        after, before = keys[first : min(last, first + 3)], keys[max(near, upto - 2) : upto]
        found.append(Negation(start, end, tuple(after), tuple(before)))
    return found


def _negated_chars(text: Text) -> list[Negation]:
    clause_ends = _ends(_HAN_CLAUSE_END, text.text)
    found = []
    for match in _HAN_NEGATION.finditer(text.text):
        if match["cue"] is None:
            continue
        start, end = match.span("cue")
        rest = text.text[end : min(_next(clause_ends, end), end + _NEAR)].lstrip()
        bare = rest.lstrip(_AUXILIARIES)
        focus = [part for part in (rest[:3], rest[:2], bare[:2]) if len(part) > 1]
        before = text.text[max(0, start - 2) : start]
        found.append(Negation(start, end, tuple(dict.fromkeys(focus)), (before,) if before.strip() else ()))
    return found


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    """Where clauses end, the last one with the text."""
    return [*(match.start() for match in pattern.finditer(text)), len(text)]


def _next(places: list[int], at: int) -> int:
    return places[bisect_left(places, at)]


_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if code != ord("，")} | {
    0x3000: 0x20,
    0x2019: 0x27,
}
"""But for the comma: `100，200` are two numbers more often than one."""
_LETTER = rf"[^\W{PAIRED}]"
_TOKEN = re.compile(
    rf"(?P<word>{_LETTER}+(?:[\u0300-\u036f{MARKS}]+{_LETTER}*)*(?:'{_LETTER}{{1,2}}(?!\w))?)|(?P<run>[{PAIRED}]+)|[.!?:;\"“(\[\n•*#|。！？：；]"
)
_OPENERS = frozenset(
    """
    according across adding additional after all allow almost along already also alternatively although always amid
    among another any apart around aside ask away back based basic before begin behind below beneath beside besides
    best better beyond big both bring build call change check children choose clear click close code come common
    conversely copy create current data day deep define despite different direct do documents each early earth easy
    eight either else end enough enter even every everyone everything example except execute few figure file final find
    first five fix follow for four free full further future general get give given go good great group half hence her
    here high higher his home how however human if important in inside install instead it its just keep know large
    larger last late later learn least left less let life like list little local long look lower main make many maybe
    mean more moreover most move much must name near nearly need neither never new next nine no none nor not note
    nothing now often old on once one only open option or other our output over own part past pay people perhaps place
    plant please possible provide public put rather read real recent remember remove result right round run same save
    say second see select send set seven several she short show side similar simple since six small so some somehow
    someone something sometimes soon start state step still store student such support sure take ten test text thank
    thanks that the their then there therefore these they thing this those though three through throughout thus time to
    today together too top total towards try turn twelve two type under unless unlike until up upon use user usual
    value view wait war water way we well what when whenever where whereas whether which while white who whole whose
    why wide with within without woman women word work world write year yes yet you young your
    """.split()  # noqa: SIM905
)
"""Words that begin sentences and are no names."""
_ENDINGS = (
    *("ing", "ed", "ly", "ion", "ment", "ness", "ity", "ers", "ies", "ous", "ive", "able", "ible", "ful", "ism", "ics"),
    *("ures", "sses", "ices", "sts", "ents", "ants", "tors", "ages", "ances", "ences", "ls", "des", "ges", "ths"),
)
_LATIN = re.compile(rf"[^\W\d_{PAIRED}]+")
_RUN = re.compile(f"[{PAIRED}]+")
_LEAST_WORDS = 5
_FOREIGN = frozenset(
    """
    de la le les des et est une un du en que qui dans pour sur pas der die das und ist ein eine nicht mit den
    von zu auf el  los las del por con una se es y e o os as um uma para com não da do na no il di che per non
    sono van het een niet ve bir  için ile и в не на что с по для как это из та що
    """.split()  # noqa: SIM905
)
"""Function words of other languages in letters that separate words."""
_FUNCTION = frozenset("的了是在和与及也而就都被把之其这那此并且或对从到由向以于为因但如若则等个位")
_AUXILIARIES = "是能会可以应该当须必需要有再得被为曾将想敢肯愿准许允"

_NEAR = 60
"""Characters before and after a word that denies in which what it denies is looked for."""
_NEGATION = re.compile(
    r"\b(?:not(?! only\b| just\b| merely\b)|never|no(?!\. ?\d| matter| doubt)|none|nobody|nothing|neither|nor|without"
    r"|cannot|\w+n't)\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.;:!?\n。；！？](?!\d)|, (?:but|while|and|although|which)\b| but ")
_HAN_NEGATION = re.compile(
    r"不同|不断|不过|不仅|不但|不少|不久|不锈|不得不|不管|不论|不料|不由|不禁|不然|不妨|不光|不只|不止|差不多|对不起|了不起|不可或缺"
    r"|无论|无线|无数|无疑|无不|非常|非洲|南非|北非|除非|莫非|非得|是非|未来|未免|没收|沉没|淹没|埋没|出没|是否|否则"
    r"|(?P<cue>没|不|无|未|非(?=[是为])|勿|毋|別|别(?=[再让把被用]))"
)
_HAN_CLAUSE_END = re.compile(r"[，。；：！？,;:!?\n]")
_IMPLIED = re.compile(
    r"\b(?:un(?!i|der)\w{3,}|non-?\w+|fail\w*|lack\w*|refus\w+|reject\w*|prevent\w*|avoid\w*|forbid\w*|forbad\w*"
    r"|prohibit\w*|hardly|rarely|seldom|barely|scarcely|except\w*|instead|rather than|stop\w*|exclud\w+|impossible"
    r"|in(?:capable|ability|valid|sufficient|correct|dependent\w*|visible|complete|compressible|active)|absen\w+"
    r"|miss(?:ing|es)|eliminat\w+|remov\w+|only|\w+less|free of|ignor\w+|omit\w*|neglect\w*|zero|vanish\w*"
    r"|den(?:y|ie[sd])|away|negative\w*|disab\w+|few|little)\b"
    r"|[无非未否禁拒缺免除难失废止停只仅]|反对|脱离|摆脱|防止",
    re.IGNORECASE,
)
