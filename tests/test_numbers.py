"""Numbers: one value, whatever way it is written."""

from decimal import Decimal

import pytest

from kbchat.citations import numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,200 keys", ["1200"]),
        ("$3.5 million", ["3500000"]),
        ("3 to 5 million", ["3000000", "5000000"]),
        ("twenty-five of two hundred and six", ["25", "206"]),
        ("one of them", []),
        ("between five and ten days", ["5", "10"]),
        ("two, three and four", ["2", "3", "4"]),
        ("from one hundred and six to two thousand and six", ["106", "2006"]),
        ("between one hundred and two hundred", ["100", "200"]),
        ("one hundred and twenty thousand two hundred", ["120200"]),
        ("the nineteenth and the twenty-first century", ["19", "21"]),
        ("the mid-eighteenth, the fortieth and the hundred and fifth", ["18", "40", "105"]),
        ("at first, a second, one fifth and two-thirds", ["2"]),
        ("版本1.2.3", ["100020003"]),
        ("四十二个", ["42"]),
        ("一九九七年", ["1997"]),
        ("一亿二千万", ["120000000"]),
        ("十三亿五千万", ["1350000000"]),
        ("一万亿", ["1000000000000"]),
        ("一万二千亿", ["1200000000000"]),
        ("一万亿三千万", ["1000030000000"]),
        ("一亿零五百", ["100000500"]),
        ("三億", ["300000000"]),
        ("5，000", ["5000"]),
        ("2020，300", ["2020", "300"]),
        ("3万人，1.5亿元", ["30000", "150000000"]),
        ("一个", []),
        ("十分重要", []),
        ("GPT4 and v2 hold no number", []),
        ("12%", ["12"]),
        ("the 1990s and the 20th", ["1990", "20"]),
    ],
)
def test_find(text: str, expected: list[str]) -> None:
    """Digits, words and Chinese numerals give values; idioms and digits within words give none."""
    assert [number.values[-1] for number in numbers.find(text)] == [Decimal(value) for value in expected]


@pytest.mark.parametrize(
    ("claim", "source", "carried"),
    [
        ("1,200", "twelve hundred", True),
        ("1,200", "one thousand two hundred", True),
        ("40", "四十", True),
        ("3 million", "3,000,000", True),
        ("3 million", "3 billion", False),
        ("in May 2020", "2020年5月", True),
        ("in May 2020", "2020-05-17", True),
        ("in May 2020", "2020-06-05", False),
        ("about 1,500", "1,512", True),
        ("1,500", "1,512", False),
        ("90%", "90 percent", True),
        ("1.10", "1.1", True),
        ("1.2亿", "一亿二千万", True),
        ("100，200，300", "100、200、300", True),
        ("100、200、300", "100，200，300", True),
        ("100，200，400", "100、200、300", False),
        ("3，200", "3200", True),
        ("3200", "3，200", True),
        ("3，300", "3200", False),
        ("3，200万", "3200万", True),
        ("5 and 10 days", "five and ten days", True),
        ("the 21st century", "the twenty-first century", True),
        ("the twenty-second century", "the 21st century", False),
        ("the nineteenth century", "the 19th century", True),
        ("a thirty-second delay", "30 seconds", True),
        ("the thirty-second day", "the 32nd day", True),
    ],
)
def test_same(claim: str, source: str, carried: bool) -> None:
    """A number is carried by the same value, a month by that month, what is called approximate by what is near."""
    others = numbers.find(source)
    assert all(any(numbers.same(number, other) for other in others) for number in numbers.find(claim)) is carried
