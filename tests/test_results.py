import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gexlib.errors import InputError
from gexlib.results import Cell, add_verification, read_table, record, table, verifications, write_table

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
parameters = st.dictionaries(st.text(min_size=1, max_size=8), plain, max_size=5)


def cell(**values) -> Cell:
    return Cell("comparison", {"cohort": "toy", "repeat": 0, **values}, "d1", 1)


@given(parameters)
def test_a_cell_survives_its_json_and_its_key_ignores_the_order_of_parameters(values):
    one = Cell("e", values, "d", 1)
    assert Cell.from_json(one.json).key == one.key
    assert Cell("e", dict(reversed(values.items())), "d", 1).key == one.key


def test_the_key_changes_with_each_part():
    keys = {c.key for c in (cell(), cell(n=8), Cell("other", cell().parameters, "d1", 1))}
    keys |= {
        Cell("comparison", cell().parameters, "d2", 1).key,
        Cell("comparison", cell().parameters, "d1", 2).key,
    }
    assert len(keys) == 5


def test_table_has_the_columns_of_the_contract_in_order_and_counts_as_integers():
    frame = table([{"experiment": "e", "n": 8, "frozen": None, "value": 1, "own": "x"}])
    assert list(frame.columns[:3]) == ["experiment", "cohort", "cohort_digest"]
    assert frame["n"].dtype == "Int64" and frame["frozen"].isna().all() and "own" in frame


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_tables_are_written_whole_with_metadata(tmp_path, suffix):
    frame = table([{"experiment": "e", "n": 8, "metric": "accuracy", "value": 0.25}])
    path = tmp_path / f"rows.{suffix}"
    write_table(frame, path, {"profile": "demo"})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == "parquet":
        back, metadata = read_table(path)
        pd.testing.assert_frame_equal(back, frame)
        assert metadata == {"profile": "demo", "digest": metadata["digest"]}


def test_rows_altered_by_hand_are_refused(tmp_path):
    """Whoever keeps the metadata: a value, an order, a row less."""
    path = tmp_path / "rows.parquet"
    write_table(table([{"experiment": "e", "n": n, "metric": "accuracy", "value": n / 100} for n in (8, 16)]), path)
    content = pq.read_table(path)
    values = content.column("value").to_pylist()
    higher = content.set_column(content.schema.get_field_index("value"), "value", pa.array([values[0], 0.99]))
    for altered in (higher, content.take([1, 0]), content.slice(0, 1), content.drop_columns("n")):
        pq.write_table(altered.replace_schema_metadata(content.schema.metadata), path)
        with pytest.raises(InputError, match="rows.parquet holds other rows than were written there"):
            read_table(path)
    pq.write_table(content, path)
    assert read_table(path)[0]["value"].tolist() == values


def test_a_truncated_table_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    write_table(table([{"value": 1.0}]), path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="rows.parquet is not a readable Parquet file"):
        read_table(path)


def test_nothing_recorded_is_an_empty_table():
    rows, runs = record("no-such-experiment")
    assert rows.empty and runs == [] and "metric" in rows


def test_the_record_can_be_elsewhere(tmp_path, monkeypatch):
    rows = table([{"experiment": "comparison", "cohort": "toy", "value": 0.5}])
    write_table(rows, tmp_path / "comparison-toy.parquet", {"cells": 1})
    here = record("comparison")[0]
    monkeypatch.setenv("GEXLIB_RESULTS", str(tmp_path))
    assert list(record("comparison")[0]["cohort"]) == ["toy"] and len(here) != 1
    add_verification({"experiment": "comparison"})
    assert verifications() == [{"experiment": "comparison"}] and (tmp_path / "verified.json").is_file()
