"""What a server says that refuses, in words that people can read."""

import pytest

from kbchat.refusals import explain


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no  such\\nmodel"}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"message": "no such model"}', "no such model"),
        (b'{"detail": "no such model"}', "no such model"),
        (b'{"error": {"message": "No such model. Ask for another."}}', "No such model. Ask for another"),
        (b'{"detail": [{"loc": 1}]}', '{"detail": [{"loc": 1}]}'),
        (b"<html>Bad\nGateway</html>", "<html>Bad Gateway</html>"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "without a word"),
        (b"[" * 100_000, "[" * 299 + "…"),
    ],
)
def test_a_failure_in_the_servers_own_words(body: bytes, words: str) -> None:
    """Whatever the shape of the body: one line, not long, and a remedy may follow."""
    assert explain(body) == words


def test_a_key_is_not_repeated() -> None:
    """Nor a part of it where the words are cut."""
    body = b"x" * 290 + b" secret-key is wrong"
    assert explain(body, key="secret-key") == "x" * 290 + " *** is w…"
    assert explain(b'{"error": "bad key secret-key"}', key="secret-key") == "bad key ***"
