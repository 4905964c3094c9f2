"""Text analysis: from text to the terms that every lexical index sees.

Documents and questions go through the same function, so a term is a term on both sides. Words are folded (NFKC, case,
Latin accents) and stemmed by Snowball; which stemmer is decided by a word's own script, never by a guess at the text's
language, because a question is too short to guess from and must meet the document's terms. Scripts that do not
separate words (Chinese, Japanese, Korean, Thai, Lao, Burmese, Khmer) give pairs of adjacent characters.
"""

import re
import threading
import unicodedata
from itertools import pairwise
from typing import NamedTuple

VERSION = 2
"""Raised whenever the same text gives other terms than before: what was indexed by another version is stale."""

MAX_TERM_CHARS = 64
"""Longer words (keys, base64) are cut: nobody types them, and their stems cost time."""


class Terms(NamedTuple):
    """A text's terms by field, in order, repeats kept."""

    unigrams: tuple[str, ...]
    """Stems of words without stop words, and pairs of adjacent characters where words are not separated."""
    bigrams: tuple[str, ...]
    """Adjacent pairs of those stems, joined by `_`."""
    characters: tuple[str, ...]
    """Single characters where words are not separated."""

    def joined(self) -> "JoinedTerms":
        """The same, in one text a field."""
        return JoinedTerms(" ".join(self.unigrams), " ".join(self.bigrams), " ".join(self.characters))


class JoinedTerms(NamedTuple):
    """A text's terms by field, joined by blanks, which no term holds: what goes from process to process, and into
    indexes that take texts. Making a hundred words of each text and one text of them again would take longer."""

    unigrams: str
    bigrams: str
    characters: str

    def split(self) -> Terms:
        """The terms one by one."""
        return Terms(tuple(self.unigrams.split()), tuple(self.bigrams.split()), tuple(self.characters.split()))


def analyse(text: str) -> Terms:
    """The terms of a text or question.

    English stop words are left out, unless there is nothing else: then they are the terms. No term holds white space.
    """
    words, runs = _tokens(text)
    stems = [stem for stem in map(_STEMS.__getitem__, words) if stem]
    if words and not stems and not runs:
        stems = [_stem(word.partition("'")[0]) for word in words]
    bigrams = tuple([f"{left}_{right}" for left, right in pairwise(stems)])
    if not runs:
        return Terms(tuple(stems), bigrams, ())
    characters: list[str] = []
    for run in runs:
        characters.extend(run)
        if len(run) == 1:
            stems.append(run)
        else:
            stems.extend([left + right for left, right in pairwise(run)])
    return Terms(tuple(stems), bigrams, tuple(characters))


def analyse_question(text: str) -> Terms:
    """The terms to look for: those of the text, but without the Chinese words that only ask (什么, 多少, 谁, the 有
    before them too unless it ends a verb as in 具有) or bind (的, 了, 是), unless there is nothing else. Pairs across
    them would weigh most, since no answer holds them."""
    if text.isascii():
        return analyse(text)
    terms = analyse(_ASKING.sub(" ", text))
    return terms if terms.unigrams else analyse(text)


_ASKING = re.compile(
    "有[没沒]有|(?<![享具持拥擁含占佔现現原特固设設建配装裝带帶附载載印刻留存患育富没沒])"
    "有(?=什[么麼]|多少|[几幾](?!何)|哪|[谁誰])|[为為爲]什[么麼]|什[么麼]|多少|怎[么麼][样樣]?|怎[样樣]|如何|是否"
    "|何[时時地]|哪[些个個里裡儿兒年位种種]?|[几幾](?!何)|[谁誰吗嗎呢的了是]"
)


def _tokens(text: str) -> tuple[list[str], list[str]]:
    """Folded words, and runs of characters of scripts that do not separate words."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower()), []
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    folded = _JOINERS.sub("", folded)
    if _ACCENTED.search(folded):
        folded = folded.translate(_PLAIN)
    return _WORD.findall(folded), _RUN.findall(folded)


class _Stems(dict[str, str]):
    """Remembers words' stems, "" for stop words. Shared by all threads; only the stemmers are a thread's own."""

    LIMIT = 50_000

    def __missing__(self, word: str) -> str:
        if word in STOP_WORDS:
            stem = ""
        elif "'" in word:
            head = word.partition("'")[0]
            stem = "" if head in STOP_WORDS else _stem(head)
        else:
            stem = _stem(word)
        if len(self) >= self.LIMIT:
            self.clear()
        self[word] = stem
        return stem


_STEMS = _Stems()
_OWN = threading.local()


def _stem(word: str) -> str:
    language = _language(word)
    if language is None:
        return word[:MAX_TERM_CHARS]
    stemmers = _OWN.__dict__
    if language not in stemmers:
        from Stemmer import Stemmer

        stemmers[language] = Stemmer(language, 0)
    return str(stemmers[language].stemWord(word[:MAX_TERM_CHARS]))


def _language(word: str) -> str | None:
    """The stemmer of a word's script. Where several languages share one, the one with the most text."""
    first = word[0]
    for last, language in _SCRIPTS:
        if first <= last:
            return language
    return None


_SCRIPTS: tuple[tuple[str, str | None], ...] = (
    ("9", None),
    ("\u024f", "english"),
    ("\u036f", None),
    ("\u03ff", "greek"),
    ("\u052f", "russian"),
    ("\u058f", "armenian"),
    ("\u05ff", None),
    ("\u06ff", "arabic"),
    ("\u08ff", None),
    ("\u097f", "hindi"),
    ("\u0b7f", None),
    ("\u0bff", "tamil"),
)
"""Last character of a stretch of Unicode and the stemmer of the words that begin in it."""

PAIRED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0edf\u1000-\u109f\u1780-\u17d3"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Kana
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3105-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U0003ffff"
)
MARKS = (  # vowel signs and the like, which \w leaves out though they stand inside words
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06ed"
    "\u0900-\u0963\u0966-\u0dff\u0f18\u0f19\u0f35-\u0f39\u0f71-\u0f84\u0f90-\u0fbc\u200c\u200d"
)
_LETTER = rf"[^\W_{PAIRED}]"
_SUFFIX = r"(?:'(?:s|t|d|m|re|ve|ll)(?![^\W_]))?"  # English contractions stay whole: they are in the stop list

_JOINERS = re.compile("[\u00ad\u2060\ufeff]")
"""What stands inside a word and is not seen: where it may be divided (a soft hyphen), and where it may not."""
_ASCII_WORD = re.compile(rf"[a-z0-9]+{_SUFFIX}")
_WORD = re.compile(rf"{_LETTER}+(?:[{MARKS}]+{_LETTER}*)*{_SUFFIX}")
_RUN = re.compile(rf"[{PAIRED}]+")


def _plain_letters() -> dict[int, str | None]:
    """Latin letters without their accents, and combining accents to nothing."""
    table: dict[int, str | None] = dict.fromkeys(range(0x300, 0x370))
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        base = unicodedata.normalize("NFD", chr(code))[0]
        if base.isascii():
            table[code] = base
    return table | {ord(char): plain for char, plain in zip("æœøłđħıŧ", _SPELT, strict=True)}


_SPELT = ("ae", "oe", "o", "l", "d", "h", "i", "t")
_ACCENTED = re.compile("[\u00c0-\u024f\u0300-\u036f\u1e00-\u1eff]")
_PLAIN = _plain_letters()

STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
    its itself they them their theirs themselves what which who whom this that these those am is are was were be been
    being have has had having do does did doing would should could ought i'm you're he's she's it's we're they're i've
    you've we've they've i'd you'd he'd she'd we'd they'd i'll you'll he'll she'll we'll they'll isn't aren't wasn't
    weren't hasn't haven't hadn't doesn't don't didn't won't wouldn't shan't shouldn't can't cannot couldn't mustn't
    let's that's who's what's here's there's when's where's why's how's a an the and but if or because as until while
    of at by for with about against between into through during before after above below to from up down in out on off
    over under again further then once here there when where why how all any both each few more most other some such no
    nor not only own same so than too very
    """.split()  # noqa: SIM905
)
"""Snowball's English stop words."""
