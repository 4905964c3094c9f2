"""Tables: their values are read as they were written, and each row says its columns' names where the table has such."""

import io
import zipfile
from collections.abc import Callable
from csv import field_size_limit

import pytest
from xlsxwriter import Workbook
from xlsxwriter.worksheet import Worksheet

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.formats import format_of
from made_files import zipped

Row = list[object]


def csv(data: str) -> str:
    return format_of(data.encode(), name="a.csv").load(data.encode(), name="a.csv").text


def sheet(*rows: Row, write: Callable[[Worksheet], object] = lambda _: None) -> bytes:
    out = io.BytesIO()
    with Workbook(out, {"in_memory": True}) as book:
        page = book.add_worksheet("Page")
        for number, row in enumerate(rows):
            page.write_row(number, 0, row)
        write(page)
    return out.getvalue()


def read(data: bytes) -> str:
    return format_of(data, name="a.xlsx").load(data, name="a.xlsx").text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        # Names above other kinds of values.
        ("name,age\nBob,31\nAnn,44\n", "name: Bob; age: 31\nname: Ann; age: 44"),
        ("name,city\nBob,Paris\nAnn,Rome\n", "name: Bob; city: Paris\nname: Ann; city: Rome"),
        ("Key,Owner\nK-1,Ann\nK-2,Bo\n", "Key: K-1; Owner: Ann\nKey: K-2; Owner: Bo"),
        ("Q,A\nHow often are the keys of the vault rotated?,Quarterly\n", None),
        # Years and dates above figures, and a name that comes twice.
        ("Product,2023,2024\nX,5,6\nY,7,8\n", "Product: X; 2023: 5; 2024: 6\nProduct: Y; 2023: 7; 2024: 8"),
        ("Item,2024-01-01,2024-02-01\nX,5,6\n", "Item: X; 2024-01-01: 5; 2024-02-01: 6"),
        ("name,score,score\nBob,1,2\nAnn,3,4\n", "name: Bob; score: 1; score: 2\nname: Ann; score: 3; score: 4"),
        # Words alone, in several columns: the usual reading.
        ("Name;City;Country\nBob;Paris;France\n", "Name: Bob; City: Paris; Country: France"),
        ("姓名,城市,国家\n张三,北京,中国\n", "姓名: 张三; 城市: 北京; 国家: 中国"),
        # No names: figures, dates above dates, words written as those below are, a value that comes again.
        ("Bob,31\nAnn,44\n", "Bob; 31\nAnn; 44"),
        ("Bob,1990\nAnn,1985\n", "Bob; 1990\nAnn; 1985"),
        ("Alice;Berlin;engineer\nBob;Paris;doctor\nCarl;Rome;cook\n", None),
        ("Alice;Berlin;engineer\nvan Dyk;Paris;doctor\nCarl;Rome;cook\n", None),
        ("Ann,Sales,Rome\nBo,Sales,Oslo\nCy,Law,Bern\n", None),
        # Two columns of no kind: each row is a name and its value.
        ("Name,Alice\nAge,30\nCity,Berlin\n", "Name: Alice\nAge: 30\nCity: Berlin"),
        ("Name:,Alice\nAge:,30\nCity:,Berlin\n", "Name: Alice\nAge: 30\nCity: Berlin"),
        ("France;Paris\nItaly;Rome\n", "France: Paris\nItaly: Rome"),
        # A list.
        ("apples\npears\nplums\n", "apples\npears\nplums"),
        ("Price\n5\n6\n", "Price: 5\nPrice: 6"),
        # Titles above the table, and the names once more between its parts.
        ("Quarterly report,,\nQ,Plan,Is\nQ1,5,6\n", "Quarterly report\nQ: Q1; Plan: 5; Is: 6"),
        ("name,age\nBob,31\nname,age\nAnn,44\n", "name: Bob; age: 31\nname: Ann; age: 44"),
    ],
)
def test_the_first_row_is_believed_to_be_names_by_what_is_below_it(data: str, text: str | None) -> None:
    """Never does a value stand as the name of another record's; `None`: the rows or names come through plainly."""
    plain = "\n".join(row.replace(";", "; ").replace(",", "; ") for row in data.splitlines())
    if data.startswith("Q,A"):
        plain = "Q: How often are the keys of the vault rotated?; A: Quarterly"
    assert csv(data) == (text or plain)


def test_quotes_are_always_double_ones() -> None:
    """Doubled within themselves, where they first occur late too; an apostrophe quotes nothing."""
    rows = "".join(f'{number},n{number},"plain, text"\n' for number in range(30))
    assert csv(f'id,name,note\n{rows}31,Bob,"He said ""no, thanks"", twice"\n').endswith(
        'id: 31; name: Bob; note: He said "no, thanks", twice'
    )
    assert csv("name,say\nBob,'tis fine\nAnn,don't\nCat,it's 'ok'\n") == (
        "name: Bob; say: 'tis fine\nname: Ann; say: don't\nname: Cat; say: it's 'ok'"
    )
    best = "".join(f"{number},the 'best' one\n" for number in range(25))
    assert csv(f'id,note\n{best}26,"Smith, John"\n').endswith("id: 26; note: Smith, John")


@pytest.mark.parametrize(
    "data",
    [
        "sep=;\nname;price\nBo, A;1,5\n",
        "name;price\nBo, A;1,5\n",
        "name\tprice\nBo, A\t1,5\n",
        "name|price\nBo, A|1,5\n",
        '"name", "price"\n"Bo, A", "1,5"\n',
    ],
)
def test_the_separator_is_the_one_that_divides_the_rows_alike(data: str) -> None:
    """Or the one that the file names; decimal commas and those of prose do not."""
    assert csv(data) == "name: Bo, A; price: 1,5"


def test_numbers_are_shown_as_the_spreadsheet_shows_them() -> None:
    """To 15 digits: the 16th is the processor's."""
    packed = sheet(["item", "sum"], ["A", 777.25], ["B", 1e14], ["C", 0.1])
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as given, zipfile.ZipFile(out, "w") as written:
        for name in given.namelist():
            written.writestr(name, given.read(name).replace(b"<v>777.25</v>", b"<v>3704.0299999999997</v>"))
    assert read(out.getvalue()) == "item: A; sum: 3704.03\nitem: B; sum: 100000000000000\nitem: C; sum: 0.1"


def test_a_sheet_that_is_a_chart_is_passed_over() -> None:
    """Its values are on another one."""
    out = io.BytesIO()
    with Workbook(out, {"in_memory": True}) as book:
        page = book.add_worksheet("Page")
        page.write_row(0, 0, ["name", "age"])
        page.write_row(1, 0, ["Ann", 30])
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "=Page!$B$2:$B$2"})
        book.add_chartsheet("Chart").set_chart(chart)
    assert read(out.getvalue()) == "name: Ann; age: 30"


def test_a_locked_sheet_says_so() -> None:
    """OpenDocument encrypts the parts of the archive, not the archive."""
    members = {"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": "\x01\x02"}
    members["META-INF/manifest.xml"] = "<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"
    with pytest.raises(UnreadableDocumentError, match="encrypted with a password"):
        format_of(zipped(members), name="a.ods").load(zipped(members), name="a.ods")


def test_years_of_a_sheet_are_names() -> None:
    """They are numbers there."""
    assert read(sheet(["Product", 2023, 2024], ["X", 5, 6])) == "Product: X; 2023: 5; 2024: 6"


@pytest.mark.parametrize("place", [(2, 16383), (1048575, 2)])
def test_a_stray_value_far_away_costs_little(place: tuple[int, int]) -> None:
    """A million empty rows, or sixteen thousand empty columns, are passed over; names stay names."""
    data = sheet(["name", "age"], ["Bob", 31], write=lambda page: page.write(*place, "stray"))
    assert read(data) == "name: Bob; age: 31\nstray"


def test_a_long_value_is_read_and_no_other_reader_bound() -> None:
    """How long a value may be is the whole process's to know: it never falls."""
    before = field_size_limit()
    assert "x" * (before + 1) in csv(f"name,note\nAnn,{'x' * (before + 1)}\nBob,y\n")
    csv("name,age\nAnn,30\n")
    assert field_size_limit() > before
