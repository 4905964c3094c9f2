"""The compose file of `docs/deployment.md`, held against what kbchat knows of itself, without starting it."""

import re
import shlex
import tomllib
from pathlib import Path
from string import Template
from typing import Any

import pytest
import typer
import yaml

import kbchat
from kbchat.cli.app import app
from kbchat.models import VectorType
from kbchat.wiring import OwnParts, Parts

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "deployment.md").read_text()
SECRETS = {"POSTGRES_PASSWORD": "pgpass", "MILVUS_TOKEN": "root:Milvus", "KBCHAT_ADMIN_KEY": "key"}
SERVICE = {
    *("image", "build", "command", "environment", "volumes", "healthcheck", "deploy", "depends_on", "ports", "configs"),
    *("security_opt", "stop_grace_period", "restart"),
}


class Compose(Template):
    """Variables as compose has them: `${NAME}`, `${NAME:?}` for one that must be set, `$$` for a dollar."""

    braceidpattern = r"[A-Z_]+(?::\?)?"


@pytest.fixture(scope="module")
def text() -> str:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


@pytest.fixture(scope="module")
def file(text: str) -> dict[str, Any]:
    """It with its variables filled in."""
    given = {name + ending: value for name, value in SECRETS.items() for ending in ("", ":?")}
    found: dict[str, Any] = yaml.safe_load(Compose(text).substitute(given))
    return found


@pytest.fixture
def settings(file: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> kbchat.Settings:
    """What kbchat makes of its environment there."""
    environment = file["services"]["kbchat"]["environment"]
    assert {name.removeprefix("KBCHAT_").lower() for name in environment} <= set(kbchat.Settings.model_fields)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return kbchat.Settings()


def test_its_parts_are_there(file: dict[str, Any], text: str) -> None:
    """What services depend on, store in and are configured by is declared; whoever waits for health can see it."""
    services = file["services"]
    assert set(file) == {"services", "configs", "volumes"}
    for service in services.values():
        assert set(service) <= SERVICE
        assert ("image" in service) != ("build" in service)
        for name, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert services[name]["healthcheck"]["test"][0] == "CMD"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in file["volumes"]
        for config in service.get("configs", []):
            assert config["source"] in file["configs"]
        assert service["restart"] == "unless-stopped"
    for image in (service["image"] for service in services.values() if "image" in service):
        assert re.fullmatch(r"[a-z]+(/[a-z]+)?:v?\d[\d.]*", image), "a version, lest it changes by itself"
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == set(SECRETS)
    assert all(f"`{name}`" in PAGE or f"`{name}=" in PAGE for name in SECRETS)


def test_health_is_not_seen_too_early(file: dict[str, Any]) -> None:
    """PostgreSQL's image makes the database with a server that is on its socket alone, and then starts another: only
    one that can be reached is healthy. The etcd in Milvus reads what is mounted for it."""
    services = file["services"]
    test = services["postgres"]["healthcheck"]["test"]
    assert test[test.index("-h") + 1] == "localhost"
    (config,) = services["milvus"]["configs"]
    assert services["milvus"]["environment"]["ETCD_CONFIG_PATH"] == config["target"]
    assert "auto-compaction-retention" in yaml.safe_load(file["configs"][config["source"]]["content"])


def test_kbchat_understands_its_settings(settings: kbchat.Settings, file: dict[str, Any]) -> None:
    """The catalog and the store are those of the services, with their users, and their parts can be made."""
    services, url = file["services"], str(settings.catalog_url)
    postgres = services["postgres"]["environment"]
    assert url == f"postgresql://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}@postgres/kbchat"
    assert settings.milvus_uri == "http://milvus:19530"
    assert settings.milvus_token is not None
    assert services["milvus"]["environment"]["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true"
    parts = Parts(settings, OwnParts())
    assert parts.catalog.is_shared
    assert "milvus:19530" in repr(parts.store(VectorType.MILVUS)._vendor)  # type: ignore[attr-defined]


def test_kbchat_can_be_installed_and_started_so(file: dict[str, Any], settings: kbchat.Settings) -> None:
    """The extras are ours, the command parses, and may listen on all addresses because there is a key."""
    service = file["services"]["kbchat"]
    lines = service["build"]["dockerfile_inline"].splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = re.findall(r"'kbchat\[(.*)\]'", "".join(lines))
    assert set(wanted.split(",")) <= set(extras)
    (command,) = [yaml.safe_load(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    assert command[:2] == ["kbchat", "serve"]
    typer.main.get_command(app).commands["serve"].make_context("serve", command[2:]).close()  # type: ignore[attr-defined]
    assert settings.api_keys
    port, path = re.findall(r"http://localhost:(\d+)(/\w+)", shlex.join(service["healthcheck"]["test"]))[0]
    assert (int(port), path) == (settings.port, "/healthz")
    assert seconds(service["stop_grace_period"]) > settings.shutdown_timeout


def test_the_proxy_lets_through_what_kbchat_does(file: dict[str, Any], settings: kbchat.Settings) -> None:
    """Its port, its largest body and its longest answer, unbuffered."""
    content = file["configs"]["proxy"]["content"]
    assert content.count("{") == content.count("}")
    assert f"http://kbchat:{settings.port};" in content
    assert "proxy_buffering off;" in content
    (size,) = re.findall(r"client_max_body_size (\d+)m;", content)
    assert int(size) * 1024 * 1024 >= settings.max_body_bytes
    # Another server is asked where one is gone, not where one has waited in vain for the store that all share.
    (gone,) = re.findall(r"proxy_connect_timeout (\w+);", content)
    (waited,) = re.findall(r"proxy_next_upstream_timeout (\w+);", content)
    assert 2 * seconds(gone) < seconds(waited) < settings.store_timeout
    (longest,) = re.findall(r"proxy_read_timeout (\w+);", content)
    assert seconds(longest) > settings.request_timeout
    published, inner = file["services"]["proxy"]["ports"][0].split(":")
    assert f"listen {inner};" in content
    assert published.isdigit()


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))
