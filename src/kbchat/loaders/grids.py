"""Tables of a page as rows of texts, each as long as its columns: what spans several of them stands in each."""

from typing import TYPE_CHECKING

from kbchat.loaders.nodes import children, flat

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

MAX_SPAN = 100
"""Columns that a cell may span."""
MAX_REPEATED = 1_000_000
"""Characters of a table that are repeated in the cells they span; after that, spanned cells are empty."""


def grid(table: "LexborNode") -> list[list[str]]:
    """The rows of a table that holds no other. What is the only cell of its row stands there once."""
    rows = table.css("tr")
    hanging: dict[int, tuple[str, int]] = {}  # By column: what a cell above says, and for how many rows yet.
    room = MAX_REPEATED
    found = []
    for number, row in enumerate(rows):
        cells = [cell for cell in children(row) if cell.tag in ("td", "th")]
        texts: list[str] = []
        for cell in cells:
            _hang(texts, hanging)
            text = flat(cell)
            across = min(whole_number(cell, "colspan", 1), MAX_SPAN)
            down = min(whole_number(cell, "rowspan", 1) or len(rows), len(rows) - number)
            repeated = "" if (across > 1 and len(cells) == 1) or len(text) * across * down > room else text
            room -= len(repeated) * (across * down - 1)
            for column in range(max(across, 1)):
                if down > 1:
                    hanging[len(texts)] = repeated, down - 1
                texts.append(repeated if column else text)
        while hanging and max(hanging) >= len(texts):
            _hang(texts, hanging)
            if hanging and max(hanging) >= len(texts):
                texts.append("")
        if cells:
            found.append(texts)
    return found


def whole_number(node: "LexborNode", name: str, default: int) -> int:
    """An attribute's value, if it is a whole number that is not negative."""
    value = (node.attrs.get(name) or "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 9 else default


def _hang(texts: list[str], hanging: dict[int, tuple[str, int]]) -> None:
    """Fill a row's next columns with what hangs into them from above."""
    while len(texts) in hanging:
        text, rows = hanging.pop(column := len(texts))
        if rows > 1:
            hanging[column] = text, rows - 1
        texts.append(text)
