"""Numbers and months in a text, whatever way they are written: what `citations` compares. Pure.

"1,200", "1200" and "one thousand two hundred" are one value, so are "$3 million" and "3,000,000", "四十" and "40",
"May" and "5月". A unit (percent, metres) is no part of a value.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple


class Number(NamedTuple):
    """A number in a text: where it stands and what it may mean."""

    start: int
    end: int
    values: tuple[Decimal, ...]
    """More than one where a sign has two meanings: `3m` is 3 (metres) or 3,000,000."""
    scale: Decimal = Decimal(1)
    """What it was multiplied by: tables say "in millions" once and give 3.2."""
    spelt: bool = False
    """Written in words. Small ones are often counted by the writer, not read from the source."""
    about: bool = False
    """Called approximate by the word before it."""
    month: int = 0


def find(text: str) -> list[Number]:
    """All numbers of a text in order. Digits within words (`v2`, `GPT4`) are none."""
    found = [*_digits(text), *_english(text), *_chinese(text), *_months(text)]
    return sorted(found)


def same(number: Number, other: Number) -> bool:
    """Whether a source's number `other` carries a number."""
    if number.month:
        return number.month == other.month
    if any(value in other.values for value in number.values):
        return True
    if number.about:
        return any(abs(value - near) * 20 <= abs(near) for value in number.values for near in other.values)
    return False


def dates(text: str, found: list[Number]) -> list[tuple[Number, Number]]:
    """Months with the day or year beside them, the month first."""
    pairs = []
    for one, other in pairwise(found):
        if bool(one.month) != bool(other.month) and _BETWEEN.fullmatch(text, one.end, max(one.end, other.start)):
            pairs.append((one, other) if one.month else (other, one))
    return pairs


def _digits(text: str) -> Iterator[Number]:
    for number in _grouped(text):
        parts = text[number.start : number.end].count("，")
        yield from _listed(text, number) if parts else (number,)


def _listed(text: str, number: Number) -> Iterator[Number]:
    """The numbers that a Chinese comma groups or separates: 3，200 is 3200, or 3 and 200; 5，000 can only be 5000."""
    parts = list(_GROUP.finditer(text, number.start, number.end))
    if any(part[0].startswith("0") for part in parts):
        yield number
        return
    for part in parts:
        last = part is parts[-1]
        value = Decimal(part[0]) * (number.scale if last else 1)
        yield number._replace(
            start=part.start(), end=number.end if last else part.end(), values=(value, *number.values)
        )


def _grouped(text: str) -> Iterator[Number]:
    for match in _DIGITS.finditer(text):
        if match["version"]:
            # Its parts side by side are one number: 1.2.3 is neither 1.2 nor 1.3.
            yield Number(*match.span(), (Decimal("".join(part.zfill(4) for part in match["version"].split("."))),))
            continue
        value = Decimal(match["value"].replace(",", "").replace("，", ""))
        suffix = match["suffix"] or ""
        scale = _SCALES.get((suffix or match["scale"] or "").lower()) or _range_scale(text, match.end())
        month = match["month"]
        if month and 1 <= value <= MONTHS:
            yield Number(match.start(), match.end("value"), (value,), month=int(value))
        elif scale is None:
            yield Number(match.start(), match.end("value"), (value,), about=_about(text, match.start()))
        else:
            values = (value, value * scale) if suffix in _AMBIGUOUS else (value * scale,)
            yield Number(match.start(), match.end(), values, scale, about=_about(text, match.start()))


def _range_scale(text: str, end: int) -> Decimal | None:
    """In "3 to 5 million" the 3 is millions too."""
    match = _RANGE.match(text, end)
    return _SCALES[match[1].lower()] if match else None


def _about(text: str, start: int) -> bool:
    return _ABOUT.search(text, max(0, start - 24), start) is not None


def _english(text: str) -> Iterator[Number]:
    for match in _SPELT.finditer(text):
        total, part = 0, 0
        for word in re.findall(r"[a-z]+", match[0].lower()):
            if word in _WORDS:
                part += _WORDS[word]
            elif word == "hundred":
                part = max(part, 1) * 100
            elif word in _SCALES:
                total += max(part, 1) * int(_SCALES[word])
                part = 0
            else:
                part += _ORDINALS.get(word, 0)
        # "One" and a bare "hundred" or "million" count nothing: "one of the million ways".
        value = Decimal(total + part)
        if value > 1 and match[0].lower().strip() not in _SCALES:
            # "The thirty-second delay" is one of 30, the thirty-second day is one of 32.
            values = (value, value - 2) if match[0].lower().endswith("second") else (value,)
            yield Number(match.start(), match.end(), values, spelt=True, about=_about(text, match.start()))


def _chinese(text: str) -> Iterator[Number]:
    for match in _HAN.finditer(text):
        value = _han_value(match["han"] or "")
        if value is None:
            continue
        month = int(value) if match["month"] and 1 <= value <= MONTHS else 0
        yield Number(match.start("han"), match.end("han"), (value,), spelt=True, month=month)


def _han_value(numerals: str) -> Decimal | None:
    """What Chinese numerals mean; None where they count nothing ("一", "千万") or are not well formed."""
    if not any(char in _HAN_DIGITS or char == "十" for char in numerals) or numerals == "一":
        return None
    if all(char in _HAN_DIGITS for char in numerals):
        return Decimal("".join(str(_HAN_DIGITS[char]) for char in numerals))
    total, section, digit, last = 0, 0, 0, 0
    for char in numerals:
        if char in _HAN_DIGITS:
            digit = _HAN_DIGITS[char]
        elif char in _HAN_TENS:
            section += (digit or 1) * _HAN_TENS[char]
            digit = 0
        else:
            scale = int(_SCALES[char])
            # A smaller scale multiplies what stands after the greater one, a greater one all that stands before it.
            total, part = (total, section + digit) if scale < last else (0, total + section + digit)
            total += part * scale
            section, digit, last = 0, 0, scale
    return Decimal(total + section + digit)


def _months(text: str) -> Iterator[Number]:
    for match in _MONTH.finditer(text):
        month = _MONTHS.index(match[0][:3].lower()) + 1
        yield Number(match.start(), match.end(), (Decimal(month),), month=month)
    for match in _DATE.finditer(text):
        month = int(match["month"])
        if 1 <= month <= MONTHS:
            yield Number(*match.span("month"), (Decimal(month),), month=month)


_SCALES = {
    "k": Decimal(10**3),
    "thousand": Decimal(10**3),
    "m": Decimal(10**6),
    "mn": Decimal(10**6),
    "million": Decimal(10**6),
    "bn": Decimal(10**9),
    "billion": Decimal(10**9),
    "trillion": Decimal(10**12),
    "百": Decimal(100),
    "千": Decimal(1000),
    "万": Decimal(10**4),
    "萬": Decimal(10**4),
    "亿": Decimal(10**8),
    "億": Decimal(10**8),
    "百万": Decimal(10**6),
    "千万": Decimal(10**7),
    "万亿": Decimal(10**12),
}
_AMBIGUOUS = {"k", "K", "m", "M", "mn"}
_SCALE = r"thousand|million|billion|trillion|bn|百万|千万|万亿|[百千万萬亿億]"
_DIGITS = re.compile(
    r"(?<![A-Za-z_\d])(?<!\d[.,])(?P<version>\d{1,3}(?:\.\d{1,4}){2,}(?![\w.]*\d))"
    r"|(?<![A-Za-z_\d])(?<!\d[.,])(?P<value>\d{1,3}(?:(?:,\d{3})+|(?:，\d{3})+)(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?)"
    rf"(?:(?P<month>月)|(?P<suffix>[A-Za-zµμ°%]{{1,3}})?(?![A-Za-z_\d])(?:[ -]?(?P<scale>{_SCALE})(?![A-Za-z]))?)",
    re.IGNORECASE,
)
_GROUP = re.compile(r"\d+(?:\.\d+)?")
_RANGE = re.compile(rf" ?(?:-|–|—|~|to|and|or|至|到|或) ?[$€£¥]?[\d.,]*\d[ -]?({_SCALE})(?![A-Za-z])", re.IGNORECASE)
_BETWEEN = re.compile(r"(?:[年月,，./-]|st|nd|rd|th|of|\s){0,4}")
_ABOUT = re.compile(
    r"(?:about|around|approximately|roughly|nearly|almost|some|over|under|more than|less than|at least|up to|circa"
    r"|ca\.|~|≈) ?[$€£¥]?$|[约近超逾](?:过)?$|(?:大约|将近|接近|超过|不到|至少|左右)$",
    re.IGNORECASE,
)
_WORDS = {
    word: value
    for value, word in enumerate(
        [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ],
        1,
    )
} | {
    word: 10 * tens
    for tens, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12} | {
    word.removesuffix("y") + ("ieth" if word.endswith("y") else "th"): value
    for word, value in _WORDS.items()
    if word not in ("one", "two", "three", "five", "eight", "nine", "twelve")
}
_BIG = ("hundred", "thousand", "million", "billion", "trillion")
_PART = rf"(?:{'|'.join(_WORDS)}|{'|'.join(_BIG)})"
_AND = "|".join(rf"(?<={big}),? and (?!(?:[a-z]+[ -]){{1,2}}{big})" for big in _BIG)
"""Within a number: two hundred and six. "Five and ten" are two numbers, so are "one hundred and two hundred"."""
_SPELT = re.compile(
    rf"(?<![\w-]){_PART}(?:(?:[ -]|{_AND}){_PART})*(?:(?:(?<=ty)-|{_AND})(?:{'|'.join(_ORDINALS)}))?(?!\w)"
    # By themselves the first three are hardly ever counted, and "a fifth" is a part.
    rf"|(?<!\w)(?<!\ba )(?<!\bone[ -])(?:{'|'.join(word for word, value in _ORDINALS.items() if value > 3)})(?!\w)",
    re.IGNORECASE,
)
_HAN_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_HAN_TENS = {"十": 10, "百": 100, "千": 1000}
_IDIOMS = "十分(?!之)|万一|千万(?![元人吨美公])|四处|四周|三角|七夕|十字|九龙|三国|五四|八卦|四川|百分之"
_HAN = re.compile(rf"(?:{_IDIOMS})|(?P<han>[〇零一二三四五六七八九十百千万萬亿億两兩]+)(?P<month>月(?!亮|球))?")
MONTHS = 12
MAX_DAY = 31
_DATE = re.compile(r"(?<!\d)\d{4}(?P<separator>[-/.])(?P<month>\d{1,2})(?P=separator)\d{1,2}(?!\d)")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = re.compile(
    r"\b(Jan(?:uary)?|Feb(?:ruary)?|March|Mar(?=[. ]+\d)|Apr(?:il)?|May(?=[,. ]+\d)|(?<=\d )May|(?<=[Ii]n )May|June?"
    r"|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
    r"|\b(?:january|february|april|july|august|september|october|november|december|(?:march|may|june)(?=,? \d)"
    r"|(?<=\bin )(?:march|may|june)|(?<=and )(?:march|june))\b"
)
