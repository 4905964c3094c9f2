"""`kbchat doctor`, shell completion, and the examples in the help."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import kbchat
from kbchat import doctor
from kbchat.cli import main
from kbchat.cli.app import app
from kbchat.testing.model_server import ModelServer, Script
from upstream import answers, upstream


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def by_name(report: dict[str, Any], name: str) -> dict[str, str]:
    found: dict[str, str] = next(it for it in report["findings"] if it["name"] == name)
    return found


def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is wrong with the defaults on an empty folder, and nothing is left in it."""
    folder = tmp_path / "data"
    code, report = findings(capsys, "--data-dir", str(folder))
    assert code == 0
    assert "90 days" in by_name(report, "trial question")["detail"]
    assert by_name(report, "catalog")["state"] == "note"
    assert not folder.exists()


def test_settings_have_their_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An argument, a variable, the file or the default; no secret is shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kbchat.toml").write_text("top_k = 7\n")
    monkeypatch.setenv("KBCHAT_API_KEYS", "hush-hush")
    monkeypatch.setenv("KBCHAT_MODELS__LOCAL__BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("KBCHAT_MODELS__LOCAL__MODEL", "m")
    monkeypatch.setenv("KBCHAT_MODELS__LOCAL__API_KEY", "hush-hush")
    assert main(["doctor", "--json", "--no-trial", "--data-dir", "here"]) == 0
    out = capsys.readouterr().out
    assert "hush" not in out
    sources = {it["name"]: it["source"] for it in json.loads(out)["settings"]}
    assert sources["data_dir"] == "argument"
    assert sources["top_k"] == "kbchat.toml"
    assert sources["api_keys"] == "KBCHAT_API_KEYS"
    assert sources["models"] == "KBCHAT_MODELS"
    assert sources["port"] == "default"


def test_what_is_wrong_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part that does not answer is named with its remedy, passwords left out, and the code is 3."""
    monkeypatch.setenv("KBCHAT_CATALOG_URL", "postgresql://user:hush@127.0.0.1:9/kb")
    monkeypatch.setenv("KBCHAT_LLM_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("KBCHAT_LLM_MODEL", "m")
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 3
    shown = capsys.readouterr()
    assert "hush" not in shown.out + shown.err
    assert "catalog:" in shown.err
    assert "trial question:" in shown.err
    assert "2 things are wrong" in shown.err


async def test_a_store_that_is_named_is_asked(tmp_path: Path) -> None:
    """Also where there is no data yet: the first space would be made there."""
    settings = kbchat.Settings(data_dir=tmp_path / "data", chroma_url="http://127.0.0.1:9")
    found = {it.name: it for it in await doctor.parts_that_answer(settings)}
    assert found["catalog"].state == "note"
    assert found["store Chroma"].state == "wrong"
    assert found["store Chroma"].remedy


def test_what_is_misspelt_is_noticed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A variable that nothing reads is named, with the setting that may be meant; a value that cannot be used is told
    with the variable that holds it."""
    monkeypatch.setenv("KBCHAT_TOPK", "7")
    _, report = findings(capsys, "--no-trial", "--data-dir", "here")
    assert by_name(report, "KBCHAT_TOPK")["remedy"] == "did you mean top_k?"
    monkeypatch.setenv("KBCHAT_LUNCH", "noon")
    _, report = findings(capsys, "--no-trial", "--data-dir", "here")
    assert by_name(report, "KBCHAT_LUNCH")["state"] == "note"
    monkeypatch.setenv("KBCHAT_TOP_K", "many")
    assert main(["doctor", "--no-trial"]) != 0
    assert "top_k (KBCHAT_TOP_K): Input should be a valid integer" in capsys.readouterr().err


async def test_the_parts_in_use_are_asked(tmp_path: Path) -> None:
    """Stores that spaces use, the spaces themselves, and an embedder that does not fit them."""
    settings = kbchat.Settings(data_dir=tmp_path)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="a", text="Cats purr."))
    found = {it.name: it for it in await doctor.parts_that_answer(settings)}
    assert {it.state for it in found.values()} <= {"ok", "note"}
    assert "1 spaces, 1 documents" in found["spaces"].detail
    assert "store Chroma" in found
    other = settings.model_copy(update={"embedder": "openai:m", "embedder_base_url": "http://127.0.0.1:9/v1"})
    wrong = {it.name: it for it in await doctor.parts_that_answer(other) if it.state == "wrong"}
    assert set(wrong) == {"spaces", "embedder"}


async def test_the_trial_asks_the_configured_model(tmp_path: Path) -> None:
    """It is the model server's answer that is shown, and its failure that is told."""
    async with ModelServer(Script(texts=("Every 90 days [1].",))) as server:
        settings = kbchat.Settings(data_dir=tmp_path, llm_base_url=server.base_url, llm_model="m")
        assert (await doctor.trial(settings)).detail.startswith("m: Every 90 days [1].")
        server.script(Script(status=401))
        assert (await doctor.trial(settings)).state == "wrong"


async def test_an_embedder_that_refuses_is_told_in_words(tmp_path: Path) -> None:
    """Its server's sentence and what to do, without the body that it came in and without the key."""
    body = json.dumps({"error": {"message": "Incorrect API key: hush. Get one.", "code": "invalid_api_key"}})
    async with upstream() as server:
        server.behave = answers(401, body)
        asked = {"embedder": "openai:m", "embedder_base_url": server.base_url, "embedder_api_key": "hush"}
        found = await doctor.parts_that_answer(kbchat.Settings(data_dir=tmp_path / "data", **asked))
    (wrong,) = (it for it in found if it.state == "wrong")
    assert wrong.detail == "embedder 'openai:m': its server answered 401: Incorrect API key: ***. Get one"
    assert wrong.remedy == "set the key it expects (embedder_api_key)"


async def test_a_file_in_the_place_of_the_data_folder(tmp_path: Path) -> None:
    """It is named, wherever on the way it lies."""
    (tmp_path / "taken").touch()
    for data_dir in (tmp_path / "taken", tmp_path / "taken" / "data"):
        found = {it.name: it for it in await doctor.parts_that_answer(kbchat.Settings(data_dir=data_dir))}
        assert found["data folder"].detail.endswith(f"{tmp_path / 'taken'} is a file")
        assert found["data folder"].remedy == "choose another data_dir"


def test_serving_without_keys() -> None:
    """An address that others can reach, without a key, is pointed out."""
    (found,) = doctor.serving(kbchat.Settings(host="0.0.0.0"))
    assert "kbchat keys create" in found.remedy
    for host in (kbchat.Settings().host, "127.0.0.2", "::1", "kb.localhost"):
        assert doctor.serving(kbchat.Settings(host=host)) == []


@pytest.mark.parametrize("password", ["pass", "pa/ss", "pa@ss", "pa:ss", "pa?ss", "pa#ss", "12/34", "p@a/s@s"])
def test_no_password_is_shown(password: str) -> None:
    """Whatever stands in it, also what no address may hold; the server is named."""
    settings = kbchat.Settings(catalog_url=f"postgresql://kb:{password}@db.internal/kbchat")
    shown = {it.name: it.value for it in doctor.settings_in_use(settings, given={}, toml={})}
    assert shown["catalog_url"] == "postgresql://db.internal/kbchat"


def test_what_is_no_address_is_shown_as_it_is() -> None:
    """A folder with an `@` or a `#` in its name is none."""
    settings = kbchat.Settings(data_dir=Path("/home/a@b/c#d"))
    shown = {it.name: it.value for it in doctor.settings_in_use(settings, given={}, toml={})}
    assert shown["data_dir"] == "/home/a@b/c#d"


def test_every_command_has_an_example() -> None:
    """`--help` ends with a call that works as it stands."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for sub in getattr(command, "commands", {"": command}).values():
            assert str(sub.epilog).startswith(f"Example: kbchat {name}"), f"{name} {sub.name}"


@pytest.mark.parametrize(("words", "expected"), [("kbchat doct", "doctor"), ("kbchat reem", "reembed")])
def test_shells_complete(words: str, expected: str) -> None:
    """What a shell is told to complete a command with."""
    env = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_KBCHAT_COMPLETE": "complete_bash"}
    ran = subprocess.run(
        [Path(sys.executable).with_name("kbchat")],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.split() == [expected]
