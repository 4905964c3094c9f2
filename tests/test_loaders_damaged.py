"""Whatever happened to a file on its way, it is read or refused with its reason."""

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.formats import format_of
from made_files import changed, good, more

# No spreadsheets: their library ends its process where memory ends, which is one reason why others read documents.
WHOLE = {**good(), **more()}
PACKED = [name for name, data in WHOLE.items() if data.startswith(b"PK")]
DAMAGED = st.one_of(st.sampled_from(PACKED), st.sampled_from(sorted(WHOLE)))
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 40),
        st.sampled_from([b"", b"\x00", b"\xff\xfe", b"<", b'"', b"-1", b"99999999999", b"../../x"]),
    ),
    min_size=1,
    max_size=6,
)


def spoilt(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Some bytes replaced by others, more or fewer."""
    for place, length, other in changes:
        start = int(place * len(data))
        data = data[:start] + other + data[start + length :]
    return data


def spoilt_within(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """An archive that is whole, with a member that is not."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith(("xml", "rels", "opf", "html"))]
    broken = names[int(changes[0][0] * len(names))]
    return changed(data, lambda name, part: spoilt(part, changes) if name == broken else part)


@given(DAMAGED, CHANGES, st.booleans())
@settings(max_examples=400, derandomize=True, deadline=None)
def test_a_damaged_file_is_read_or_refused(name: str, changes: list[tuple[float, int, bytes]], within: bool) -> None:
    """Nothing else is raised, and what is read is text with blocks that lie in it."""
    whole = WHOLE[name]
    damaged = spoilt_within(whole, changes) if within and name in PACKED else spoilt(whole, changes)
    try:
        document = format_of(damaged, name=name).load(damaged, name=name)
    except UnreadableDocumentError as error:
        assert error.message
        return
    document.text.encode()
    assert all(0 <= block.start <= block.end <= len(document.text) for block in document.blocks)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_cannot_be_unpacked_are_damage(name: str, method: int) -> None:
    """However they are packed."""
    damaged = bytearray(changed(WHOLE[name], lambda _, part: part, method=method))
    with zipfile.ZipFile(io.BytesIO(damaged)) as archive:
        first = archive.infolist()[0]
    start = first.header_offset + 30 + len(first.filename)
    damaged[start + 12 : start + 60] = bytes(48)
    with pytest.raises(UnreadableDocumentError, match="damaged"):
        format_of(bytes(damaged), name=name).load(bytes(damaged), name=name)
