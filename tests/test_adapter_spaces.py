"""The routes of spaces."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kbchat.models import KeyRole
from serving import SPACES, Served, as_user, serving


async def create(served: Served, name: str = "test_space", **more: object) -> dict[str, Any]:
    status, body = await served.post(SPACES, {"name": name, **more})
    assert status == 200, body
    data: dict[str, Any] = body["data"]
    return data


async def test_a_space_lives_from_post_to_delete(tmp_path: Path) -> None:
    """Each answer holds the Space Object in the documented envelope."""
    sent = {"id": None, "name": "手册", "vector_type": "Chroma", "desc": "for us", "owner": "dbgpt", "context": None}
    async with serving(tmp_path) as served:
        status, body = await served.post(SPACES, sent)
        assert status == 200
        assert {key: body[key] for key in ("success", "err_code", "err_msg")} == {
            "success": True,
            "err_code": None,
            "err_msg": None,
        }
        made = body["data"]
        assert isinstance(made["id"], int)
        assert {key: made[key] for key in sent if key != "id"} == {key: sent[key] for key in sent if key != "id"}
        assert (await served.get(f"{SPACES}/{made['id']}"))[1]["data"] == made
        status, body = await served.send("DELETE", f"{SPACES}/{made['id']}")
        assert (status, body["data"]) == (200, made)
        status, body = await served.get(f"{SPACES}/{made['id']}")
        assert (status, body["error"]["code"]) == (404, "space_not_found")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, {"desc": "", "owner": "", "context": None, "vector_type": "Chroma"}),
        ({"desc": None, "owner": None, "vector_type": None}, {"desc": "", "owner": "", "vector_type": "Chroma"}),
        ({"owner": 7}, {"owner": "7"}),
        ({"context": {"top_k": 5, "名": [None, "<"]}}, {"context": '{"top_k": 5, "名": [null, "<"]}'}),
        ({"context": "as it is"}, {"context": "as it is"}),
        ({"context": 3}, {"context": "3"}),
        ({"vector_type": "chroma"}, {"vector_type": "Chroma"}),
        ({"vector_type": "MILVUS"}, {"vector_type": "Milvus"}),
        ({"unknown": [1]}, {}),
    ],
)
async def test_much_is_accepted_and_one_thing_is_answered(
    tmp_path: Path, sent: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    """Clients differ in what they send; they reject null where a text is expected."""
    async with serving(tmp_path) as served:
        made = await create(served, **sent)
        assert {key: made[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "name"),
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x" * 1_000_000}, "name"),
        ({"name": ["a"]}, "name"),
        ({"name": "a", "vector_type": "Faiss"}, "vector_type"),
        ({"name": "a", "vector_type": 1}, "vector_type"),
        ({"name": "a", "desc": 5}, "desc"),
        ({"name": "a", "owner": True}, "owner"),
        ({"name": "a", "owner": {"id": 1}}, "owner"),
        ({"name": "a", "owner": 1.5}, "owner"),
    ],
)
async def test_a_field_that_cannot_be_used_is_named(tmp_path: Path, sent: object, field: str) -> None:
    """400, with the field in the message and in `param`, and nothing made."""
    async with serving(tmp_path) as served:
        status, body = await served.post(SPACES, sent)
        assert status == 400
        assert body["error"]["param"] == field
        assert field in body["err_msg"]
        assert len(body["err_msg"]) < 300
        assert (await served.get(SPACES))[1]["data"]["total_count"] == 0


async def test_an_unknown_vector_type_names_those_there_are(tmp_path: Path) -> None:
    """The message says what would have been right."""
    async with serving(tmp_path) as served:
        _, body = await served.post(SPACES, {"name": "a", "vector_type": "Faiss"})
        assert "Chroma" in body["err_msg"]
        assert "Milvus" in body["err_msg"]


async def test_a_name_is_taken_once_an_owner(tmp_path: Path) -> None:
    """The same name and owner again is 409; another owner may have it."""
    async with serving(tmp_path) as served:
        await create(served, owner="a")
        await create(served, owner="b")
        status, body = await served.post(SPACES, {"name": "test_space", "owner": "a"})
        assert (status, body["error"]["code"]) == (409, "space_exists")


@pytest.mark.parametrize(
    "space_id", ["99", "0", "-1", "1.0", "abc", "9" * 40, "%20", "４９", "1_0", "+1", "..", "%2e%2e%2f%2e%2e", "%00"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_id_that_is_none_is_not_found(tmp_path: Path, method: str, space_id: str) -> None:
    """Neither no integer nor an unknown one is more than a 404."""
    async with serving(tmp_path) as served:
        for number in range(12):
            await create(served, f"space {number}")
        status, _ = await served.send(method, f"{SPACES}/{quote(space_id, safe='%')}")
        assert status == 404
        assert (await served.get(SPACES))[1]["data"]["total_count"] == 12


@pytest.mark.parametrize("as_text", [False, True])
async def test_put_with_an_id_changes_what_was_sent(tmp_path: Path, as_text: bool) -> None:
    """Also the name. What is null or left out stays."""
    async with serving(tmp_path) as served:
        made = await create(served, desc="old", owner="dbgpt", context="kept")
        sent = {"id": str(made["id"]) if as_text else made["id"], "name": "renamed", "desc": "", "owner": None}
        status, body = await served.send("PUT", SPACES, json=sent)
        assert status == 200
        changed = body["data"]
        assert (changed["name"], changed["desc"], changed["owner"], changed["context"]) == (
            "renamed",
            "",
            "dbgpt",
            "kept",
        )


async def test_put_without_an_id_means_the_space_of_the_name(tmp_path: Path) -> None:
    """As the documented Python call sends it."""
    async with serving(tmp_path) as served:
        made = await create(served, owner="dbgpt")
        sent = {"id": None, "name": "test_space", "vector_type": "Chroma", "desc": "new", "owner": "dbgpt"}
        status, body = await served.send("PUT", SPACES, json=sent)
        assert (status, body["data"]["id"], body["data"]["desc"]) == (200, made["id"], "new")


async def test_put_of_a_name_that_two_owners_use_asks_for_the_id(tmp_path: Path) -> None:
    """409, with both ids."""
    async with serving(tmp_path) as served:
        ids = [(await create(served, owner=owner))["id"] for owner in ("a", "b")]
        status, body = await served.send("PUT", SPACES, json={"name": "test_space", "desc": "x"})
        assert (status, body["error"]["code"]) == (409, "space_ambiguous")
        assert all(str(space_id) in body["err_msg"] for space_id in ids)


@pytest.mark.parametrize(
    ("sent", "expected", "code"),
    [
        ({"desc": "x"}, 400, "invalid_request"),
        ({"id": 99, "desc": "x"}, 404, "space_not_found"),
        ({"id": "abc", "desc": "x"}, 404, "space_not_found"),
        ({"id": "9" * 30}, 404, "space_not_found"),
        ({"id": {}}, 400, "invalid_request"),
        ({"name": "unknown", "desc": "x"}, 404, "space_not_found"),
        ({"id": 1, "name": ""}, 400, "invalid_input"),
        ({"id": 1, "vector_type": "x"}, 400, "invalid_request"),
        ({"id": 1, "name": "second"}, 409, "space_exists"),
    ],
)
async def test_put_that_cannot_be_done_changes_nothing(tmp_path: Path, sent: object, expected: int, code: str) -> None:
    """Neither half of it."""
    async with serving(tmp_path) as served:
        made = await create(served)
        await create(served, "second")
        status, body = await served.send("PUT", SPACES, json=sent)
        assert (status, body["error"]["code"]) == (expected, code)
        assert (await served.get(f"{SPACES}/{made['id']}"))[1]["data"] == made


async def test_a_list_comes_in_pages(tmp_path: Path) -> None:
    """20 a page unless asked otherwise, with the counts that tell how many there are."""
    async with serving(tmp_path) as served:
        names = [(await create(served, f"space {number}"))["name"] for number in range(23)]
        _, body = await served.get(SPACES)
        page = body["data"]
        assert [item["name"] for item in page["items"]] == names[:20]
        assert {key: page[key] for key in page if key != "items"} == {
            "total_count": 23,
            "total_pages": 2,
            "page": 1,
            "page_size": 20,
        }
        seen = []
        for number in (1, 2, 3, 4):
            _, body = await served.get(f"{SPACES}?page={number}&page_size=6")
            seen += [item["name"] for item in body["data"]["items"]]
        assert seen == names[:24]
        _, body = await served.get(f"{SPACES}?page=999999999")
        assert (body["data"]["items"], body["data"]["total_count"]) == ([], 23)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=a", ["a", "a"]),
        ("owner=x", ["a", "b"]),
        ("owner=y&name=a", ["a"]),
        ("vector_type=milvus", ["b"]),
        ("owner=nobody", []),
        ("name=A", []),
        ("name=", []),
        ("name=%25", []),
    ],
)
async def test_a_list_can_be_filtered(tmp_path: Path, query: str, names: list[str]) -> None:
    """By name, owner and vector type, each exactly."""
    async with serving(tmp_path) as served:
        await create(served, "a", owner="x")
        await create(served, "b", owner="x", vector_type="Milvus")
        await create(served, "a", owner="y")
        _, body = await served.get(f"{SPACES}?{query}")
        assert [item["name"] for item in body["data"]["items"]] == names
        assert body["data"]["total_count"] == len(names)


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "page_size=0", "page_size=1001", "vector_type=Faiss"])
async def test_a_page_that_cannot_be_is_refused(tmp_path: Path, query: str) -> None:
    """400, naming the parameter."""
    async with serving(tmp_path) as served:
        status, body = await served.get(f"{SPACES}?{query}")
        assert (status, body["error"]["param"]) == (400, query.partition("=")[0])


# -- whose spaces ----------------------------------------------------------------------------------------------------


ALICE = {"X-User": "alice:writer"}
BOB = {"X-User": "bob:writer"}
ADMIN = {"X-User": ":admin"}


async def test_what_is_foreign_does_not_exist(tmp_path: Path) -> None:
    """Another owner's space is 404 in every route, and no filter finds it."""
    async with serving(tmp_path, authenticate=as_user) as served:
        _, body = await served.post(SPACES, {"name": "secret"}, headers=ALICE)
        made = body["data"]
        assert made["owner"] == "alice"
        path = f"{SPACES}/{made['id']}"
        for method, url, sent in (
            ("GET", path, None),
            ("DELETE", path, None),
            ("PUT", SPACES, {"id": made["id"], "desc": "x"}),
            ("PUT", SPACES, {"name": "secret", "desc": "x"}),
        ):
            status, body = await served.send(method, url, json=sent, headers=BOB)
            assert (status, body["error"]["code"]) == (404, "space_not_found")
        for query in ("", "?owner=alice", "?name=secret"):
            _, body = await served.get(SPACES + query, headers=BOB)
            assert body["data"]["total_count"] == 0
        _, body = await served.get(f"{SPACES}?owner=alice", headers=ADMIN)
        assert body["data"]["items"] == [made]


async def test_a_key_of_one_owner_names_no_other(tmp_path: Path) -> None:
    """Neither when it makes a space nor when it changes one; naming itself is fine."""
    async with serving(tmp_path, authenticate=as_user) as served:
        status, body = await served.post(SPACES, {"name": "a", "owner": "bob"}, headers=ALICE)
        assert (status, body["error"]["code"], body["error"]["param"]) == (403, "owner_not_allowed", "owner")
        _, body = await served.post(SPACES, {"name": "a", "owner": "alice"}, headers=ALICE)
        made = body["data"]
        status, body = await served.send("PUT", SPACES, json={"id": made["id"], "owner": "bob"}, headers=ALICE)
        assert status == 403
        status, body = await served.send("PUT", SPACES, json={"id": made["id"], "owner": "bob"}, headers=ADMIN)
        assert (status, body["data"]["owner"]) == (200, "bob")


async def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    """403, also for what it may see; and it sees its owner's spaces."""
    reader = {"X-User": "alice:reader"}
    async with serving(tmp_path, authenticate=as_user) as served:
        _, body = await served.post(SPACES, {"name": "a"}, headers=ALICE)
        made = body["data"]
        for method, url in (("POST", SPACES), ("PUT", SPACES), ("DELETE", f"{SPACES}/{made['id']}")):
            status, body = await served.send(method, url, json={"name": "a"}, headers=reader)
            assert (status, body["error"]["code"]) == (403, "role_not_sufficient")
        assert (await served.get(f"{SPACES}/{made['id']}", headers=reader))[1]["data"] == made


async def test_an_owner_without_a_name_is_everybodys_and_nobodys(tmp_path: Path) -> None:
    """An empty owner in the filter means spaces that are nobody's."""
    async with serving(tmp_path) as served:
        await create(served, "nobodys")
        await create(served, "alices", owner="alice")
        _, body = await served.get(f"{SPACES}?owner=")
        assert [item["name"] for item in body["data"]["items"]] == ["nobodys"]


async def test_a_space_is_not_given_away_by_a_key_that_is_no_admins(tmp_path: Path) -> None:
    """An empty owner is no owner to give it to: it stays the key's own, whoever else has one of that name."""
    async with serving(tmp_path, authenticate=as_user) as served:
        alice = {"X-User": "alice:writer"}
        await served.kb.create_space("test_space")
        space = await served.kb.create_space("test_space", owner="alice")
        for owner in ("", None, "alice"):
            sent = {"id": space.id, "owner": owner, "desc": "mine"}
            status, body = await served.send("PUT", SPACES, json=sent, headers=alice)
            assert (status, body["data"]["owner"]) == (200, "alice")


async def test_an_owner_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    """With its accents apart or not: of one's own, in a filter, and in what is made."""
    apart, composed = "Jose\u0301", "Jos\u00e9"
    async with serving(tmp_path, api_keys="admin") as served:
        _, key = await served.kb.keys.create("jose's", owner=apart, role=KeyRole.WRITER)
        own, admin = ({"Authorization": f"Bearer {it}"} for it in (key, "admin"))
        status, body = await served.post(SPACES, {"name": "a", "owner": apart}, headers=own)
        assert (status, body["data"]["owner"]) == (200, composed)
        for headers in (own, admin):
            for owner in (apart, composed):
                _, body = await served.get(SPACES, params={"owner": owner}, headers=headers)
                assert body["data"]["total_count"] == 1
