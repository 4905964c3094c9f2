"""`kbchat keys`."""

from typing import get_args

from kbchat.cli.exits import Exit
from kbchat.cli.keys import RoleName
from kbchat.models import KeyRole
from test_cli import Kbchat, kbchat

__all__ = ["kbchat"]


def test_a_key_is_made_listed_and_revoked(kbchat: Kbchat) -> None:
    """The key alone is on stdout, so that a script can take it; it is in no list."""
    made = kbchat("keys create --name laptop --owner alice --role writer")
    assert made.code == Exit.DONE
    key = made.out.strip()
    assert key.startswith("kb-")
    assert "not shown again" in made.err
    listed = kbchat("keys list")
    assert "laptop" in listed.out
    assert "alice" in listed.out
    assert "writer" in listed.out
    assert key not in listed.out
    assert kbchat("keys revoke laptop").code == Exit.DONE
    assert "laptop" not in kbchat("keys list").out
    assert "laptop" in kbchat("keys list --all").out


def test_keys_are_printed_as_json(kbchat: Kbchat) -> None:
    """Each command prints one document."""
    made = kbchat("keys create --name ci --json").json
    assert isinstance(made, dict)
    assert made["role"] == "reader"
    (listed,) = kbchat("keys list --json").json  # type: ignore[misc]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    revoked = kbchat(f"keys revoke {made['id']} --json").json
    assert isinstance(revoked, dict)
    assert revoked["revoked_at"]


def test_the_name_wins_over_the_id(kbchat: Kbchat) -> None:
    """A key may be called like a number."""
    kbchat("keys create --name first")
    kbchat("keys create --name 1")
    assert "'1'" in kbchat("keys revoke 1").out
    assert "'first'" in kbchat("keys revoke 1").out


def test_mistakes_are_named(kbchat: Kbchat) -> None:
    """With the remedy, and no traceback."""
    kbchat("keys create --name laptop")
    again = kbchat("keys create --name laptop")
    assert again.code == Exit.MISTAKE
    assert "already there" in again.err
    unknown = kbchat("keys revoke nope")
    assert unknown.code == Exit.MISTAKE
    assert "kbchat keys list" in unknown.err
    assert kbchat("keys create --name x --role king").code == Exit.MISTAKE


def test_an_empty_list_says_what_to_do(kbchat: Kbchat) -> None:
    """On stderr."""
    ran = kbchat("keys list")
    assert (ran.code, ran.out) == (Exit.DONE, "")
    assert "kbchat keys create" in ran.err


def test_roles_are_those_of_the_house() -> None:
    """The command line names the roles that there are."""
    assert set(get_args(RoleName)) == set(KeyRole)
