"""Settings that set nothing, or cannot be used, are refused by name where they are read."""

from pathlib import Path

import pytest

import kbchat
from kbchat.errors import SettingsError


def test_an_argument_that_is_no_setting_is_refused() -> None:
    """It would have been taken for the default without a word."""
    with pytest.raises(SettingsError, match=r"topk: is no setting; did you mean top_k\?"):
        kbchat.Settings(topk=7)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("chunk_token = 3", r"chunk_token: is no setting; did you mean chunk_tokens\?"),
        ('lunch = "noon"', "lunch: is no setting; docs/settings.md"),
        ("[kbchat]\ntop_k = 3", "kbchat: is no setting"),
        ('[models.a]\nbase_url = "http://x/v1"\nmodel = "m"\ncontext = 1', r"models\.a\.context: is no setting"),
        ("top_k == 3", r"kbchat\.toml cannot be read"),
    ],
)
def test_a_line_that_sets_nothing_is_refused(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is misspelt in kbchat.toml is told at once, with the setting that may be meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kbchat.toml").write_text(line)
    with pytest.raises(SettingsError, match=said):
        kbchat.Settings()


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker makes one where a file was to be mounted that is not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kbchat.toml").mkdir()
    with pytest.raises(SettingsError, match=r"kbchat\.toml cannot be read: it is a folder"):
        kbchat.Settings()


def test_variables_that_set_nothing_stop_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be another program's: Kubernetes sets KBCHAT_SERVICE_HOST where a service is called kbchat."""
    monkeypatch.setenv("KBCHAT_SERVICE_HOST", "10.0.0.1")
    assert kbchat.Settings().top_k == 5


def test_settings_are_no_folder() -> None:
    """Who gives them in the folder's place is told how they are given."""
    with pytest.raises(SettingsError, match="data_dir: must be a path, not Settings; settings are given as"):
        kbchat.KnowledgeBase(kbchat.Settings())  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"settings: must be a kbchat\.Settings, not dict"):
        kbchat.KnowledgeBase(settings={"data_dir": "kb-data"})  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "said"), [("", "an empty path is refused"), ("~nobody-of-that-name/x", "home")])
def test_a_data_folder_must_be_named(given: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable does not mean the working folder, nor does an empty argument."""
    with pytest.raises(SettingsError, match=f"data_dir: .*{said}"):
        kbchat.KnowledgeBase(given)
    monkeypatch.setenv("KBCHAT_DATA_DIR", given)
    with pytest.raises(SettingsError, match=rf"data_dir \(KBCHAT_DATA_DIR\): .*{said}"):
        kbchat.Settings()
