"""What the catalog must hold about API keys."""

import anyio
import pytest

from kbchat.catalog import Catalog
from kbchat.errors import KeyExistsError, KeyNotFoundError
from kbchat.models import KeyInfo, KeyRole
from kbchat.testing.catalog_fixtures import CatalogFixtures
from kbchat.testing.catalog_samples import NOWHERE


async def make_key(catalog: Catalog, name: str = "laptop", *, digest: str = "d1") -> KeyInfo:
    return await catalog.create_key(name=name, owner="alice", role=KeyRole.WRITER, digest=digest)


class KeyTests(CatalogFixtures):
    """Made, found and revoked."""

    async def test_a_key_is_found_by_its_hash(self, catalog: Catalog) -> None:
        """With its name, owner and role."""
        assert not await catalog.has_keys()
        made = await make_key(catalog)
        assert (made.name, made.owner, made.role, made.revoked_at) == ("laptop", "alice", KeyRole.WRITER, None)
        assert await catalog.find_key("d1") == made
        assert await catalog.find_key("d") is None
        assert await catalog.list_keys() == [made]
        assert await catalog.has_keys()

    @pytest.mark.parametrize("by_id", [False, True])
    async def test_a_revoked_key_is_found_no_more(self, catalog: Catalog, by_id: bool) -> None:
        """It stays in the list, its name is free again, and there still is a key."""
        made = await make_key(catalog)
        revoked = await catalog.revoke_key(made.id if by_id else "laptop")
        assert revoked.revoked_at is not None
        assert await catalog.find_key("d1") is None
        assert await catalog.list_keys() == [revoked]
        assert await catalog.has_keys()
        again = await make_key(catalog, digest="d2")
        assert again.id > made.id
        assert await catalog.list_keys() == [revoked, again]

    async def test_a_key_that_is_not_there_cannot_be_revoked(self, catalog: Catalog) -> None:
        """Nor one that was revoked before."""
        made = await make_key(catalog)
        await catalog.revoke_key(made.id)
        for key in (made.id, "laptop", "nope", NOWHERE):
            with pytest.raises(KeyNotFoundError):
                await catalog.revoke_key(key)

    async def test_a_name_is_one_valid_keys(self, catalog: Catalog) -> None:
        """Also when two are made at the same time."""
        made: list[KeyInfo] = []
        refused: list[KeyExistsError] = []

        async def make(digest: str) -> None:
            try:
                made.append(await make_key(catalog, digest=digest))
            except KeyExistsError as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(make, f"d{number}")
        assert (len(made), len(refused)) == (1, 4)
        assert await catalog.list_keys() == made
