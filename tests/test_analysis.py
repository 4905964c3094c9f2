"""Text analysis: the same terms from documents and questions, in every script."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kbchat.text.analysis import MAX_TERM_CHARS, STOP_WORDS, Terms, analyse, analyse_question

SOME_TEXT = st.text(
    st.one_of(
        st.sampled_from("abcXYZ019 _-.'’\n\t的东京キー한글ภาษहिن еёй éøßİı🙂\u0301\u200d\ufb01\u2003"),
        st.characters(),
    ),
    max_size=60,
)


def test_words_are_folded_stemmed_and_paired() -> None:
    """Stems of words without stop words, adjacent ones in pairs."""
    assert analyse("How are the KEYS rotated daily?") == Terms(
        unigrams=("key", "rotat", "daili"), bigrams=("key_rotat", "rotat_daili"), characters=()
    )


def test_chinese_gives_pairs_and_single_characters() -> None:
    """Where words are not separated, adjacent characters are the terms; a lone character is its own."""
    assert analyse("密钥轮换。我") == Terms(
        unigrams=("密钥", "钥轮", "轮换", "我"), bigrams=(), characters=("密", "钥", "轮", "换", "我")
    )


@pytest.mark.parametrize(
    ("text", "unigrams"),
    [
        ("東京タワー", {"東京", "京タ", "タワ", "ワー"}),
        ("한국어 문서", {"한국", "국어", "문서"}),
        ("ภาษาไทย", {"ภา", "าษ", "ษา", "าไ", "ไท", "ทย"}),
        ("работают пользователи", {"работа", "пользовател"}),
        ("διακομιστές", {"διακομ"}),
        ("हिन्दी", {"हिन्द"}),
        ("المستخدمين", {"مستخدم"}),
    ],
)
def test_a_script_has_its_own_analysis(text: str, unigrams: set[str]) -> None:
    """Pairs for scripts without spaces, the stemmer of the script's largest language for others."""
    assert set(analyse(text).unigrams) == unigrams


def test_languages_mix() -> None:
    """Words of one script stay neighbours across words of another."""
    terms = analyse("使用 FastAPI 的 OAuth2 登录")
    assert terms.bigrams == ("fastapi_oauth2",)
    assert set(terms.unigrams) == {"fastapi", "oauth2", "使用", "的", "登录"}


def test_forms_of_a_character_are_one() -> None:
    """Full width, ligatures, case, accents and combining accents make no difference."""
    assert analyse("ＦＡＳＴ ﬁle Café İstanbul STRASSE") == analyse("fast file cafe istanbul straße")
    assert analyse("cafe\u0301") == analyse("café")
    assert analyse("con\u00adfigu\u00adration in\u2060side") == analyse("configuration inside")
    assert analyse("don’t user’s") == analyse("don't user's") == analyse("user")


def test_only_stop_words_are_kept_when_there_is_nothing_else() -> None:
    """A question of nothing but stop words still has terms; beside another word they vanish."""
    assert analyse("The Who").unigrams == ("the", "who")
    assert analyse("the who sang").unigrams == ("sang",)
    assert analyse("the 书").unigrams == ("书",)


def test_contractions_are_stop_words_as_well() -> None:
    """`don't` is no `don`, and what a suffix hangs on is judged without it."""
    assert analyse("don't it'd we'll rotate").unigrams == ("rotat",)
    assert analyse("l'avion O'Neil").unigrams == ("l", "avion", "o", "neil")


def test_names_of_code_fall_into_words() -> None:
    """Identifiers are found by their parts, and their pairs keep them apart from the same words elsewhere."""
    terms = analyse("create_space(vector_type)")
    assert terms.unigrams == ("creat", "space", "vector", "type")
    assert "creat_space" in terms.bigrams


@pytest.mark.parametrize("text", ["", " \n", "🙂🙂", "...", "👩\u200d👩\u200d👧", "\u0301", "_"])
def test_what_holds_no_word_has_no_terms(text: str) -> None:
    """Emoji, signs and white space are no terms."""
    assert analyse(text) == Terms((), (), ())


def test_endless_words_are_cut() -> None:
    """A key of a megabyte is a term of at most 64 characters."""
    (term,) = analyse("x" * 1_000_000).unigrams
    assert len(term) <= MAX_TERM_CHARS


def test_the_stop_list_is_snowballs() -> None:
    """All 174 words, contractions included."""
    assert len(STOP_WORDS) == 174


@given(SOME_TEXT)
@example("ǰ İ ŉ")
@example("a\udc80b")
def test_terms_are_single_words(text: str) -> None:
    """No term is empty or holds white space: an index may be fed with them joined by blanks."""
    for terms in analyse(text):
        assert all(term and not any(map(str.isspace, term)) for term in terms)


@given(SOME_TEXT, st.sampled_from([" é", " 的", " ж"]))
def test_what_stands_beside_a_word_does_not_change_it(text: str, other: str) -> None:
    """Plain and folded reading agree: a text's stems are the same when other scripts follow it."""
    alone, beside = analyse(text + " word"), analyse(text + " word" + other)
    assert set(alone.unigrams) <= set(beside.unigrams)


@given(SOME_TEXT)
def test_letter_case_does_not_matter(text: str) -> None:
    """Capitals find small letters."""
    assert analyse(text.casefold()) == analyse(text)


def test_any_thread_gives_the_same_terms() -> None:
    """Stemmers are not shared between threads, though what they found is."""
    texts = [f"running{n} rotations{n} классы{n}" for n in range(300)]
    expected = [analyse(text) for text in texts]
    fresh = [text.replace("running", "jogging") for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(analyse, texts)) == expected
        concurrent = [list(batch) for batch in zip(*(pool.map(analyse, fresh) for _ in range(4)), strict=True)]
    assert all(terms == batch[0] for batch in concurrent for terms in batch)


def test_terms_do_not_depend_on_the_process() -> None:
    """Nothing hashes or orders by chance."""
    code = "from kbchat.text.analysis import analyse; print(ascii(analyse('Naïve keys 的密钥 rotated')))"
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1


# -- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("满五年后有多少天年假？", "满五年后 天年假"),
        ("年假有几天？", "年假 天"),
        ("有没有年假", "年假"),
        ("有谁参加", "参加"),
        ("还有几何题吗", "还有几何题"),
        ("系统具有哪些功能？", "系统具有 功能"),
        ("员工享有多少假期", "员工享有 假期"),
        ("滿五年後有幾天年假嗎", "滿五年後 天年假"),
        ("谁发明了什么", "发明"),
        ("为什么天是蓝的", "天 蓝"),
        ("几何是什么", "几何"),
        ("FastAPI 的 OAuth2 怎么用", "FastAPI OAuth2 用"),
    ],
)
def test_what_only_asks_is_not_looked_for(question: str, text: str) -> None:
    """Chinese question words and particles part what stands beside them, and are no terms."""
    assert analyse_question(question) == analyse(text)


@pytest.mark.parametrize("question", ["什么", "是谁的", "How are keys rotated?", "ключ", ""])
def test_a_question_of_nothing_else_keeps_its_terms(question: str) -> None:
    """So does one in another script."""
    assert analyse_question(question) == analyse(question)


@given(SOME_TEXT)
def test_a_question_asks_for_nothing_that_its_text_does_not_hold(text: str) -> None:
    """Its single characters are among its text's, and it has terms whenever the text has."""
    asked, held = analyse_question(text), analyse(text)
    assert set(asked.characters) <= set(held.characters)
    assert bool(asked.unigrams) == bool(held.unigrams)
