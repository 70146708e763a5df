"""Tables of genes x samples, streamed: every shape they come in, every way they are damaged, and going on."""

import gzip
import io
import re
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gexlib.cohorts import store, tables
from gexlib.errors import InputError

VALUES = pd.DataFrame(
    np.random.default_rng(0).normal(8, 2, (6, 4)).round(3).astype(np.float32),
    index=[f"g{i}" for i in range(6)],
    columns=["a", "b", "c", "d"],
)


def written(frame=VALUES, **how) -> bytes:
    return frame.to_csv(sep="\t", **{"index_label": "id"} | how).encode()


def zipped(**files) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


@pytest.fixture
def stage(home, tmp_path):
    """Return a function that stages content, all samples unless told."""

    def start(content, choose=lambda names: range(len(names)), digest="d", **how):
        path = tmp_path / "table"
        path.write_bytes(content)
        return tables.stage(path, digest, choose, **how)

    return start


def refused(message, call):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value) and "table" in str(caught.value)


FORMS = {
    "plain": lambda text: text,
    "gzip": gzip.compress,
    "zip": lambda text: zipped(**{"folder/matrix.txt": text, "readme.md": b"words"}),
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "no first cell": lambda text: text.removeprefix(b"id\t"),
    "blank first cell": lambda text: text.removeprefix(b"id"),
    "quotes": lambda text: re.sub(rb"([a-z]\w*)", rb'"\1"', text),
    "quoted numbers": lambda text: re.sub(rb"([\w.]+)", rb'"\1"', text),
    "tab after every row": lambda text: text.replace(b"\n", b"\t\n"),
    "tab after the rows": lambda text: text.replace(b"\n", b"\t\n").replace(b"d\t\n", b"d\n", 1),
    "blank lines": lambda text: text.replace(b"\n", b"\n\n") + b"\n\n",
    "no last line end": lambda text: text[:-1],
    "spaces": lambda text: text.replace(b"\t", b" \t "),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(stage, form):
    staged = stage(FORMS[form](written()))
    assert staged.genes == list(VALUES.index) and staged.samples == list(VALUES.columns) and staged.dropped == {}
    np.testing.assert_array_equal(staged.matrix, VALUES.to_numpy())


def test_an_extra_column_and_a_choice(stage):
    frame = VALUES.assign(description="some text, no number")[["description", "a", "b", "c", "d"]]
    staged = stage(written(frame), lambda names: [names.index("d"), names.index("b")])
    assert staged.samples == ["d", "b"]
    np.testing.assert_array_equal(staged.matrix, VALUES[["d", "b"]])


def test_what_is_left_out_is_counted(stage):
    rows = written().decode().splitlines()
    rows[2:2] = [rows[1], rows[1].replace("g0", "")]  # a probe twice, one without a name
    for number, missing in enumerate(("", "-", "NA", "nan", "null", " ")):
        rows.insert(-1, f"m{number}\t1\t2\t{missing}\t4")
    staged = stage("\n".join(rows).encode())
    assert staged.genes == list(VALUES.index)
    assert staged.dropped == {"twice": 1, "without id": 1, "with missing values": 6}
    np.testing.assert_array_equal(staged.matrix, VALUES)
    kept = stage("\n".join(rows).encode(), lambda names: [0, 1])  # what is missing elsewhere does not count
    assert len(kept.genes) == len(VALUES) + 6


def test_samples_that_stand_twice_count_once(stage):
    frame = VALUES.set_axis(["a", "b", "a", ""], axis=1)
    staged = stage(written(frame))
    assert staged.samples == ["a", "b"]
    np.testing.assert_array_equal(staged.matrix, VALUES[["a", "b"]])


def test_names_that_are_not_ascii(stage):
    frame = VALUES.rename(index={"g0": "gène"}, columns={"a": "März"})
    for encoding in ("utf-8", "latin-1"):
        staged = stage(written(frame).decode().encode(encoding), digest=encoding)
        assert staged.genes[0] == "gène" and staged.samples[0] == "März"


def test_a_part_of_a_file(stage):
    content = b"!title\twords\n!begin\n" + written() + b"!end\n!more\n"
    staged = stage(content, begin=b"!begin", end=b"!end")
    np.testing.assert_array_equal(staged.matrix, VALUES)
    refused("has no line !begin", lambda: stage(content.replace(b"!begin", b"!start"), begin=b"!begin", end=b"!end"))
    refused("has no line !end, so it is cut off", lambda: stage(content[:-15], begin=b"!begin", end=b"!end"))
    refused("has no rows", lambda: stage(b"!begin\nid\ta\n!end\n", begin=b"!begin", end=b"!end"))


def test_damage_is_named(stage):
    text = written()
    refused(
        "`many` for gene g1, sample b, which is no number",
        lambda: stage(b"id\ta\tb\ng1\t7\tmany\n"),
    )
    refused("`7,5` for gene g1, sample b", lambda: stage(b"id\ta\tb\ng1\t7\t7,5\n"))
    refused("`inf` for gene g1, sample b", lambda: stage(b"id\ta\tb\ng1\t7\tinf\n"))
    refused("`1e39` for gene g1, sample b", lambda: stage(b"id\ta\tb\ng1\t7\t1e39\n"))
    refused("has 2 cells in row 3 and 3 columns: it is cut off", lambda: stage(b"id\ta\tb\ng\t1\t2\nh\t1\t2\ni\t1\n"))
    refused("has 2 names in its header for 4 columns", lambda: stage(b"a\tb\ng\t1\t2\t3\n"))
    refused("has no rows", lambda: stage(b"id\ta\tb\n"))
    refused("has no rows", lambda: stage(b""))
    refused("has none of the samples wanted among its 4", lambda: stage(text, lambda names: []))
    refused("has no row that can be used .1 with missing values", lambda: stage(b"id\ta\ng\t-\n"))
    refused("is cut off or damaged", lambda: stage(gzip.compress(text)[:-20]))
    refused("is cut off or damaged", lambda: stage(gzip.compress(text)[:-3] + b"xxx"))
    refused("holds matrix and no single table", lambda: stage(zipped(matrix=b"x")))
    whole = zipped(**{"m.txt": text})
    refused("is cut off or damaged", lambda: stage(whole[: len(whole) // 2]))
    refused("is cut off or damaged", lambda: stage(whole.replace(whole[60:64], b"####", 1)))


@pytest.mark.parametrize("name", ["../m.txt", "/m.txt", "a/../../m.txt", "..\\m.txt", "C:\\m.txt"])
def test_unsafe_names_in_an_archive(stage, name):
    refused("holds the unsafe name", lambda: stage(zipped(**{"m.txt": written(), name: b"x"})))


def test_several_tables_in_an_archive(stage):
    both = zipped(**{"one.txt": written(), "two.txt": written(VALUES + 1)})
    refused("holds one.txt, two.txt and no single table", lambda: stage(both))
    np.testing.assert_array_equal(stage(both, member="two.txt").matrix, VALUES + 1)


def test_bombs_are_refused(stage, monkeypatch):
    zeros = written(pd.DataFrame(0.0, index=[f"g{i}" for i in range(30_000)], columns=list("abcd")))
    monkeypatch.setattr(tables, "GIB", len(zeros) // 2)
    monkeypatch.setattr(tables, "RATIO", 5)
    for bomb in (gzip.compress(zeros), zipped(**{"m.txt": zeros})):
        refused("unpacks to more than .*, more than a table of its size can hold", lambda bomb=bomb: stage(bomb))
    monkeypatch.setattr(tables, "LINE", 100)
    refused("has a line of more than", lambda: stage(b"x" * 200))


def test_a_load_that_was_stopped_goes_on(stage, home, monkeypatch):
    """Whatever instant it is stopped at, and without parsing again what is done."""
    frame = pd.concat([VALUES.set_axis([f"{block}{i}" for i in range(6)]) for block in "xyz"])
    content = written(frame.iloc[[0, *range(len(frame))]])  # one row twice
    monkeypatch.setattr(tables, "BATCH", 60)
    whole = stage(content, digest="whole")
    parsed = tables._Journal._parsed

    for stop in range(5):
        calls = []

        def stopping(self, stop=stop, calls=calls):
            calls.append(len(self._cells))
            if len(calls) > stop:
                raise KeyboardInterrupt
            return parsed(self)

        with monkeypatch.context() as patch:
            patch.setattr(tables._Journal, "_parsed", stopping)
            with pytest.raises(KeyboardInterrupt):
                stage(content, digest=f"stop {stop}")
        folder = max((home / "staged").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        with open(folder / "journal.tsv", "ab") as file:
            file.write(b"kept\thalf a li")  # as a kill in the middle of a write leaves it
        with open(folder / "rows.f32", "ab") as file:
            file.write(b"123456")
        calls.clear()
        monkeypatch.setattr(
            tables._Journal, "_parsed", lambda self, calls=calls: calls.append(len(self._cells)) or parsed(self)
        )
        again = stage(content, digest=f"stop {stop}")
        monkeypatch.setattr(tables._Journal, "_parsed", parsed)
        assert again.genes == whole.genes and again.dropped == whole.dropped == {"twice": 1}
        np.testing.assert_array_equal(again.matrix, whole.matrix)
        assert stop == 0 or sum(calls) < len(frame) + 1


def test_rows_that_are_lost_are_read_again(stage, home, monkeypatch):
    first = stage(written())
    (first.folder / "rows.f32").write_bytes(b"")
    np.testing.assert_array_equal(stage(written()).matrix, VALUES)


def test_a_staged_table_becomes_a_cohort(stage, home, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 40)
    one, two = (
        stage(written(), digest="1"),
        stage(written(VALUES.iloc[::-1, :2].set_axis(["e", "f"], axis=1)), digest="2"),
    )
    obs = pd.DataFrame({"status": ["cancer", "normal"] * 3}, index=[*one.samples, *two.samples])
    var = pd.DataFrame(index=["g3", "g1", "g2"])
    tables.save("joined", [one, two], obs, var, {"name": "joined"}, lambda block: block + 1)
    cohort = store.open_stored("joined")
    expected = pd.concat([VALUES, VALUES.iloc[:, :2]], axis=1).loc[var.index].to_numpy().T + 1
    np.testing.assert_array_equal(cohort.X, expected)
    assert list(cohort.obs_names) == list("abcdef") and list((home / "staged").glob("*/*")) == []


def test_labels_are_read_as_text(tmp_path):
    path = tmp_path / "labels.txt"
    for content in (
        b"Name\tdisease\tx\r\ns1\t normal \t\r\ns2\t-\t7\r\n",
        b"disease\tx\ns1\tnormal\t\ns2\t-\t7\n",
        gzip.compress(b'"Name"\t"disease"\t"x"\n"s1"\t"normal"\t""\n\n"s2"\t"-"\t"7"\t\n'),
    ):
        path.write_bytes(content)
        header, body = tables.rows(path)
        assert header[1:] == ["disease", "x"] and body == [["s1", "normal", ""], ["s2", "-", "7"]]
    path.write_bytes("Name\tdisease\ns1\tmélanome\n".encode("latin-1"))
    assert tables.rows(path)[1] == [["s1", "mélanome"]]
    for content, words in ((b"", "is empty"), (b"a\tb\n", "is empty"), (b"a\tb\n1\t2\n3\n", "has 1 cells in row 3")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            tables.rows(path)
    path.write_bytes(b"a\tb\n1\t2\n")
    with pytest.raises(InputError, match="no table of labels"):
        tables.rows(path, most=5)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frame=st.integers(1, 5).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=n, max_size=n),
            min_size=1, max_size=6,
        )
    ),
    batch=st.integers(1, 200),
)  # fmt: skip
def test_numbers_are_those_that_numpy_reads(stage, monkeypatch, frame, batch):
    frame = pd.DataFrame(frame).rename(index=lambda i: f"g{i}", columns=lambda i: f"s{i}")
    text = written(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(tables, "BATCH", batch)
        staged = stage(text, digest=repr((text, batch)))
    expected = np.loadtxt(io.BytesIO(text), delimiter="\t", skiprows=1, usecols=range(1, frame.shape[1] + 1), ndmin=2)
    np.testing.assert_array_equal(staged.matrix, expected.astype(np.float32))
