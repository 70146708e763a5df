"""Tables as people, spreadsheets and other programs write them."""

import pytest

from gexlib.cohorts import sheets
from gexlib.errors import InputError

PLAIN = b"id\tgroup\tage\ns1\tT\t61\ns2\tN\t47\n"


def read(tmp_path, content: bytes):
    (tmp_path / "sheet.tsv").write_bytes(content)
    return sheets.read_sheet(tmp_path / "sheet.tsv")


def edged(content: bytes, end: bytes) -> bytes:
    return b"\n".join(line + end for line in content.splitlines())


@pytest.mark.parametrize(
    "content",
    [
        b'# Program:featureCounts v2.0.1; Command:"featureCounts" "-T" "4"\n' + PLAIN,
        b"#Id\tGroup\tAge\n#which\twhat\tyears\n#STRING\tSTRING\tNUMBER\n#1\t1\t1\n" + PLAIN,  # cBioPortal
        b"##made by hand\n#" + PLAIN,
        PLAIN.decode().encode("utf-16"),
        PLAIN.decode().encode("utf-8-sig").replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN + b"\t\t\n\n\t\t\n",
        edged(PLAIN, b"\t\t"),
    ],
    ids=["featureCounts", "cBioPortal", "marked", "UTF-16", "CRLF", "CR", "empty lines", "empty columns"],
)
def test_the_same_table_in_other_clothes(tmp_path, content):
    table = read(tmp_path, content)
    assert list(table.index) == ["s1", "s2"] and list(table.columns) == ["group", "age"]
    assert table.to_numpy().tolist() == [["T", "61"], ["N", "47"]]


def test_ids_and_columns_without_a_name_stay_where_they_hold_something(tmp_path):
    table = read(tmp_path, b"id\tgroup\t\ns1\tT\tx\n\tN\t\n")
    assert list(table.index) == ["s1", ""] and list(table.columns) == ["group", ""]


def test_a_header_alone(tmp_path):
    with pytest.raises(InputError, match="sheet.tsv has no rows below its header: name the table that has them"):
        read(tmp_path, b"id\tgroup\n")


def test_latin_1(tmp_path):
    assert read(tmp_path, "id\tgroup\ns1\tMétastase\n".encode("latin-1")).loc["s1", "group"] == "Métastase"


def test_ends_of_lines_that_send_pandas_into_a_loop(tmp_path, bounded):
    (tmp_path / "sheet.csv").write_bytes(b"id,status\ns0,cancer\r\t\r\t\tnormal\n")
    table = sheets.read_table(tmp_path / "sheet.csv", dtype=str, keep_default_na=False)
    assert list(table.index) == ["s0", "normal"]
