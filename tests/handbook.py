"""A small handbook in two languages, and questions that it answers or does not."""

from collections.abc import Mapping

import kbchat

TEXTS = {
    "keys": "Keys are rotated every ninety days by the vault. Nobody rotates them by hand.",
    "lunch": "The cafeteria serves lunch at noon. On Fridays there is soup.",
    "ships": "An unrelated text about bridges, rivers, boats, harbours, cranes, ships and the open sea.",
    "密钥": "密钥每九十天轮换一次。食堂中午供应午餐。",
}
QUESTIONS = ["How are keys rotated?", "When is lunch served?", "九十天轮换密钥", "bridges and boats", "zeppelin"]


def documents(texts: Mapping[str, str]) -> list[kbchat.TextDocument]:
    return [kbchat.TextDocument(name=name, text=text) for name, text in texts.items()]
