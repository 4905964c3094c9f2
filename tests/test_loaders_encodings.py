"""Texts in other encodings than UTF-8 are read as people wrote them, however short; broken ones are named."""

import tracemalloc

import pytest

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.html import HtmlLoader

ENGLISH = "The report covers the whole year in detail, with figures for each quarter. " * 8


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Café crème"),
        ("cp1252", "It’s “fine” – 5 €"),
        ("cp1252", "key;value\nprice;5 €\n"),
        ("latin-1", "price: 5 £ \n"),
        ("cp1252", "# Notes\n\n- résumé sent\n- déjà vu\n"),
        ("cp1252", "def f():\n    # größer als\n    return 1\n"),
        ("cp1252", "Émile Zola, né à Paris"),
        ("latin-1", f"{ENGLISH}½ cup"),
        ("latin-1", "Ærø Ålborg Øster"),
        ("cp1252", "Straße"),
        ("cp1252", "it’s"),
    ],
)
def test_a_few_accents_are_western(encoding: str, text: str) -> None:
    """Few bytes say little of their encoding, but no word is half Latin and half Cyrillic, Greek or Hebrew."""
    assert decode(text.encode(encoding), name="a.txt") == (text, "Windows-1252")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1250", "Příliš žluťoučký kůň"),
        ("iso-8859-2", "Zażółć gęślą jaźń"),
        ("cp1251", "API для ключей: GET /ключ"),
        ("cp1251", "Windows-сервер"),
        ("koi8-r", "Привет, мир"),
        ("cp866", "Привет, мир. Завтра в десять собрание."),
        ("cp1253", "Καλημέρα κόσμε, η API στις δέκα."),
        ("cp1254", "Günaydın dünya, yarın saat onda görüşürüz"),
        ("cp437", "Größe der Schlüssel und Türen für alle"),
        ("mac-roman", "Café à Paris"),
        ("gb18030", "Python库的API文档"),
        ("euc-kr", "API를 호출합니다"),
    ],
)
def test_other_short_texts_are_not_western(encoding: str, text: str) -> None:
    """Signs within words, capitals after small letters, and words without a plain letter tell them apart."""
    assert decode(text.encode(encoding), name="a.txt")[0] == text


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ("It’s the plan – we’ll ship. ".encode() + b"Price:\xa05.\n", "byte 0xa0 at offset 40"),
        ((ENGLISH + "It’s “up").encode() + "’".encode()[:2], "byte 0xe2"),
        ("’".encode()[1:] + " started\nIt’s “up” – ok\n".encode(), "byte 0x80 at offset 0"),
    ],
)
def test_utf8_with_a_stray_byte_is_named_in_english_too(data: bytes, where: str) -> None:
    """Where it holds more characters of UTF-8 than bad bytes; as another encoding all of those would be nonsense."""
    with pytest.raises(UnreadableDocumentError, match=f"not UTF-8 text: {where}"):
        decode(data, name="a.txt")


def test_a_stray_byte_in_a_long_text_takes_little_memory() -> None:
    """Its characters are counted, not gathered."""
    data = "会议在周五。".encode() * 20_000 + b"\xa0 end"
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableDocumentError, match="not UTF-8 text: byte 0xa0 at offset 360000"):
            decode(data, name="a.txt")
        assert tracemalloc.get_traced_memory()[1] < 5 * len(data)
    finally:
        tracemalloc.stop()


def test_the_mark_at_the_end_of_old_files_is_left_out() -> None:
    """Ctrl-Z, by which DOS knew the end; elsewhere it is no text."""
    assert decode(b"Old text.\r\n\x1a", name="a.txt") == ("Old text.\n", None)
    with pytest.raises(UnreadableDocumentError, match=r"U\+001A at offset 3"):
        decode(b"Old\x1atext", name="a.txt")


def test_the_colours_of_a_log_are_left_out() -> None:
    """Its words would begin with them; so are the links and titles that terminals know."""
    log = "\x1b[1;31mERROR\x1b[0m \x1b]8;;https://a.b/\x07the \x1b]0;title\x1b\\disk\x1b(B is full\x1b"
    assert decode(log.encode(), name="a.log") == ("ERROR the disk is full", None)
    picture = "before \x1bPq#0;2;0~~@@\x1b\\after"
    assert decode(picture.encode(), name="a.log") == ("before after", None)
    cut = "start\n\x1b]0;titl\n" + "an important line\n" * 99 + "Item:\x1b   Hello\x07"
    assert decode(cut.encode(), name="a.log")[0] == cut.replace("\x1b]", "").replace("\x1b", "").replace("\x07", "")
    long = "word\x1b[0m" * 600_000
    assert decode(long.encode(), name="a.log")[0].count("word") == 600_000


def test_stray_control_characters_are_left_out() -> None:
    """What a terminal left in a log. Zero bytes are never text, and other encodings hold nearly any bytes."""
    assert decode("Schlüssel \x07".encode() + b"text " * 20, name="a.log") == ("Schlüssel " + "text " * 20, None)
    binary = [b"a\x00" + b"text " * 20, b"\x0eGQ19\x0f" + b"text " * 200, b"\x07text " * 20]
    for data in (*binary, "Schlüssel\x07".encode("cp1252") + b"text " * 20):
        with pytest.raises(UnreadableDocumentError, match="binary data"):
            decode(data, name="a.log")


@pytest.mark.parametrize(
    ("declared", "written", "text"),
    [
        ("gb2312", "gb18030", "朱镕基"),
        ("iso-8859-1", "cp1252", "It’s 5 €"),
        ("Shift_JIS", "cp932", "①番"),
        ("ks_c_5601-1987", "cp949", "똠방각하"),
        ("iso-2022-jp", "iso-2022-jp", "会議"),
    ],
)
def test_what_is_declared_is_read_as_browsers_do(declared: str, written: str, text: str) -> None:
    """As the wider encoding that is commonly meant; and one of escape sequences, which are ASCII, before UTF-8."""
    page = f'<html><head><meta charset="{declared}"></head><body><p>'.encode() + text.encode(written)
    assert HtmlLoader().load(page, name="a.html").text == text


def test_an_accent_late_in_a_long_text_is_enough() -> None:
    """The encoding is guessed from where the text is not ASCII."""
    text = "plain words here " * 20_000 + "café"
    assert decode(text.encode("latin-1"), name="a.txt") == (text, "Windows-1252")


@pytest.mark.parametrize("encoding", ["iso2022_jp", "iso2022_jp_ext"])
def test_japanese_of_escape_sequences_is_known_by_them(encoding: str) -> None:
    """It is ASCII to look at; what has the sequences and is not such a text is what a terminal shows."""
    text = "Re: 会議\n日本語の文書です。\n" + "ﾃｽﾄ" * encoding.endswith("ext")
    assert decode(text.encode(encoding), name="a.txt") == (text, "ISO-2022-JP")
    for other, shown in {"\x1b[1mbold\x1b[0m $B": "bold $B", "\x1b$B\x1b": "", "\x1b$B会議": "会議"}.items():
        assert decode(other.encode(), name="a.txt") == (shown, None)


@pytest.mark.parametrize(("declared", "encoding"), [("utf-7", "utf-7"), ("UTF-7", "utf-7"), ("hz-gb-2312", "hz")])
def test_encodings_that_look_like_ascii_are_read_where_they_are_declared(declared: str, encoding: str) -> None:
    """As old mails do. A text that is in fact in UTF-8, or plain, stays as it is."""
    text = "Hi, 今天天气。 1 + 1"
    assert decode(text.encode(encoding), name="a.eml", declared=declared) == (text, None)
    for other in ("Größe ~", "1 + 1", "a ~{b"):
        assert decode(other.encode(), name="a.eml", declared=declared) == (other, None)
    assert decode(b"+2AA-", name="a.eml", declared=declared) == ("+2AA-", None)


@pytest.mark.parametrize("declared", ["utf-16", "rot13", "undefined", "punycode", "hex", "no\0name"])
def test_plain_ascii_is_plain_whatever_it_declares(declared: str) -> None:
    """What a file says may be wrong, or no encoding at all."""
    assert decode(b"hello (world)+", name="a.txt", declared=declared) == ("hello (world)+", None)
    assert decode("café noir".encode("latin-1"), name="a.txt", declared="undefined")[0] == "café noir"
