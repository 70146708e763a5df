"""The working store: what is kept, what damage costs, and how processes keep out of each other's way."""

import errno
import gzip
import json
import os
import pickle
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gexlib import store as module
from gexlib.errors import InputError
from gexlib.results import Cell
from gexlib.store import Store, open_store

STAMP = {
    "fingerprint": "f1", "versions": "v", "commit": "c", "dirty": False, "seconds": 1.0, "date": "2026-01-01T00:00:00Z",
}  # fmt: skip
ERROR = {"type": "ValueError", "message": "no", "traceback": "Traceback ..."}


def cell(**values) -> Cell:
    return Cell("comparison", {"cohort": "toy", "repeat": 0, **values}, "d1", 1)


def rows(value=0.5) -> list[dict]:
    return [
        {"task": "toy", "metric": "accuracy", "value": value, "n": 8},
        {"task": "toy", "metric": "log_loss", "value": float("nan"), "frozen": None, "n": 8},
    ]


def values(store: Store, cells, mark="f1") -> dict:
    return {kept.parameters["n"]: [row["value"] for row in of_cell] for kept, of_cell in store.rows(cells, mark)}


@pytest.fixture
def full(tmp_path):
    """A store with thirty cells of two processes, and the cells."""
    cells = [cell(n=n) for n in range(30)]
    for half in (cells[:10], cells[10:]):
        writer = Store(tmp_path)
        for each in half:
            writer.write(each, rows(each.parameters["n"]), STAMP)
        writer.close()
    return Store(tmp_path), cells


def segments(store: Store) -> list:
    return sorted(store.folder.glob("comparison/*.jsonl*"), key=lambda path: -path.stat().st_size)


# What is kept


def test_rows_come_back_as_they_were_of_the_same_code_only(tmp_path):
    store = Store(tmp_path)
    store.write(cell(), rows(), STAMP, networks=3)
    for reader in (store, Store(tmp_path)):
        got = reader.read(cell(), "f1")
        assert json.dumps(
            [{**row, **STAMP, "key": cell().key, "cell": cell().json} for row in rows()], sort_keys=True
        ) == (json.dumps(got, sort_keys=True))
        assert reader.read(cell(), "f2") is None and reader.read(cell(n=8), "f1") is None
        assert reader.entry(cell(), "f1")[:5] == ("f1", "done", STAMP["date"], 1.0, 3)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abcd"),
            st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1) | st.text("x\n \u00e9", max_size=3),
        ),
        max_size=4,
    )
)
def test_what_rows_share_is_written_once_and_comes_back_to_each(some):
    same, each = module._shared(some)
    assert [{**same, **row} for row in each] == some
    assert [list(map(type, sorted({**same, **row}.values(), key=repr))) for row in each] == [
        list(map(type, sorted(row.values(), key=repr))) for row in some
    ]


def test_a_failure_is_kept_until_the_cell_is_done(tmp_path):
    store = Store(tmp_path)
    store.write_failure(cell(), ERROR, STAMP)
    assert store.read(cell(), "f1") is None
    ((failed, error),) = store.failures([cell(), cell(n=2)], "f1")
    assert failed == cell() and error["traceback"] == "Traceback ..." and error["commit"] == "c"
    store.write(cell(), rows(), STAMP)
    store.write_failure(cell(), ERROR, {**STAMP, "date": "2027-01-01T00:00:00Z"})
    assert store.read(cell(), "f1") and not list(store.failures([cell()], "f1"))


def test_a_cell_done_twice_counts_once(tmp_path):
    for _ in range(2):
        Store(tmp_path).write(cell(n=1), rows(), STAMP)
    store = Store(tmp_path)
    assert len(list(store.rows([cell(n=1)], "f1"))) == 1
    assert len(store.entries("comparison")) == 1


def test_rows_of_other_code_stay_beside(tmp_path):
    store = Store(tmp_path)
    store.write(cell(n=1), rows(1), STAMP)
    store.write(cell(n=1), rows(2), {**STAMP, "fingerprint": "f2"})
    assert store.read(cell(n=1), "f1")[0]["value"] == 1 and store.read(cell(n=1), "f2")[0]["value"] == 2
    assert [entry.fingerprint for _, entry in store.cells("comparison")] == ["f1", "f2"]


def test_a_reader_sees_what_is_written_meanwhile(tmp_path):
    reader, writer = Store(tmp_path), Store(tmp_path)
    assert reader.refresh("comparison") == {}
    for n in range(3):
        writer.write(cell(n=n), rows(), STAMP)
        assert list(reader.refresh("comparison")) == [cell(n=n).key]


def test_in_a_task_it_is_the_store_of_the_process(tmp_path):
    one = pickle.loads(pickle.dumps(Store(tmp_path)))
    assert one is pickle.loads(pickle.dumps(one)) is open_store(tmp_path)


def test_code_is_kept_by_its_fingerprint(tmp_path):
    store = Store(tmp_path)
    assert store.code("comparison", "f1") is None
    store.keep_code("comparison", "f1", {"training.fit": "abc"})
    assert store.code("comparison", "f1") == {"training.fit": "abc"}


# Damage


def test_a_line_that_is_not_whole_is_not_there(full):
    store, cells = full
    path = segments(store)[0]
    path.write_bytes(path.read_bytes()[:-7])
    reader = Store(store.folder)
    assert len(values(reader, cells)) == 29 and not reader.damage


@pytest.mark.parametrize("damage", [b"\x00", b"\n", b"{"])
def test_damage_in_a_segment_costs_the_lines_it_hits(full, damage):
    store, cells = full
    path = segments(store)[0]
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + damage + content[middle + 1 :])
    reader = Store(store.folder)
    left = values(reader, cells)
    assert len(left) == 29 and all(value[0] == n for n, value in left.items())
    (said,) = reader.damage.values()
    assert path.name in said and "counts as missing" in said


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9])
def test_a_pack_that_is_cut_keeps_the_parts_before(full, keep, monkeypatch):
    monkeypatch.setattr(module, "MEMBER", 5)
    store, cells = full
    store.collect("comparison")
    (pack,) = segments(store)
    packed = pack.read_bytes()
    pack.write_bytes(packed[: keep if keep > 1 else int(keep * len(packed))])
    reader = Store(store.folder)
    left = values(reader, cells)
    assert len(left) % 5 == 0 and (keep == 0.9) == (len(left) >= 20) and len(left) < 30
    assert all(value[0] == n for n, value in left.items())
    assert keep == 0 or pack.name in next(iter(reader.damage.values()))


def test_a_pack_damaged_inside_keeps_the_other_parts(full, monkeypatch):
    monkeypatch.setattr(module, "MEMBER", 5)
    store, cells = full
    store.collect("comparison")
    (pack,) = segments(store)
    packed = bytearray(pack.read_bytes())
    packed[len(packed) // 2] ^= 0xFF
    pack.write_bytes(packed)
    reader = Store(store.folder)
    assert len(values(reader, cells)) == 25 and reader.damage
    for each in cells:  # what is missing is computed again
        if reader.read(each, "f1") is None:
            reader.write(each, rows(each.parameters["n"]), STAMP)
    reader.collect("comparison")
    assert len(values(Store(store.folder), cells)) == 30 and not Store(store.folder).damage
    assert (pack.parent / "damaged" / pack.name).is_file()


def full_disk(monkeypatch, after: int):
    """Let the disk run full in the middle of a line, after so many whole ones."""
    real, calls = os.write, []

    def write(file, line):
        calls.append(file)
        if len(calls) > after:
            if len(calls) == after + 1:
                return real(file, line[:20])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, line)

    monkeypatch.setattr(os, "write", write)


def test_a_full_disk_is_one_sentence_and_costs_one_cell(tmp_path, monkeypatch):
    store, cells = Store(tmp_path), [cell(n=n) for n in range(4)]
    with monkeypatch.context() as patch:
        full_disk(patch, after=2)
        store.write(cells[0], rows(), STAMP)
        store.write(cells[1], rows(), STAMP)
        with pytest.raises(InputError, match=f"cannot write to {tmp_path}: No space left on device"):
            store.write(cells[2], rows(), STAMP)
    assert len(values(Store(tmp_path), cells)) == 2
    for each in cells[2:]:  # there is space again
        store.write(each, rows(), STAMP)
    reader = Store(tmp_path)
    assert len(values(reader, cells)) == 4 and not reader.damage


def test_a_store_that_cannot_be_written_to_can_be_read(full, monkeypatch):
    store, cells = full

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    reader = Store(store.folder)
    assert len(values(reader, cells)) == 30
    with pytest.raises(InputError, match="cannot write to .*: Read-only file system"):
        reader.write(cell(n=99), rows(), STAMP)


# Packing


def test_packing_changes_nothing_but_files(full):
    store, cells = full
    before = values(store, cells)
    reader = Store(store.folder)
    reader.refresh("comparison")
    assert store.collect("comparison") == (2, 30)
    (pack,) = segments(store)
    assert len(gzip.decompress(pack.read_bytes()).splitlines()) == 30
    for each in (store, reader, Store(store.folder)):
        assert values(each, cells) == before
    assert store.collect("comparison") == (0, 0)
    store.write(cell(n=30), rows(30), STAMP)
    assert store.collect("comparison") == (2, 31)
    assert len(values(Store(store.folder), [*cells, cell(n=30)])) == 31


def test_packing_leaves_the_segments_of_processes_that_live(full):
    store, cells = full
    code = (
        "import sys; from tests.test_working_store import *; s = Store(sys.argv[1]); "
        "s.write(cell(n=30), rows(30), STAMP); "
        "print('w', flush=True); input(); s.write(cell(n=31), rows(31), STAMP)"
    )
    command = [sys.executable, "-c", code, str(store.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "w\n"
        store.collect("comparison")
        assert len(segments(store)) == 2
        writer.communicate("\n")
    assert len(values(Store(store.folder), [*cells, cell(n=30), cell(n=31)])) == 32
    assert Store(store.folder).collect("comparison") == (2, 32)


# Claims


def test_a_claim_holds_until_it_is_given_back(tmp_path):
    one, two = Store(tmp_path), Store(tmp_path)
    assert one.claim("comparison", "group", ["k1", "k2"])
    assert not two.claim("comparison", "group", ["k1"]) and two.claim("comparison", "other", [])
    assert [claim.keys for claim in two.claims("comparison") if claim.writer == one.writer] == [("k1", "k2")]
    one.release("comparison", "group")
    assert two.claim("comparison", "group", ["k1"])


def test_a_runner_takes_over_from_a_worker_of_its_own(tmp_path):
    one, two = Store(tmp_path), Store(tmp_path)
    assert one.claim("comparison", "group", ["k"], "runner")
    assert two.orphaned("comparison", "group", "runner") and not two.orphaned("comparison", "group", "other")
    assert not two.claim("comparison", "group", ["k"], "other") and two.claim("comparison", "group", ["k"], "runner")
    assert [claim.writer for claim in one.claims("comparison")] == [two.writer]


@pytest.mark.parametrize("content", ["{writer}", ""])
def test_a_claim_ends_with_its_process(tmp_path, content, monkeypatch):
    store = Store(tmp_path)
    code = (
        "import sys, os; from gexlib.store import Store; s = Store(sys.argv[1]); "
        "s.claim('comparison', 'group', ['k']); print(s.writer, flush=True); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    writer = ended.stdout.strip()
    assert ended.returncode == -9 and not store.is_alive(writer)
    assert store.claims("comparison") == []
    path = store._claim("comparison", "group")
    if not content:  # its writer died between creating and filling it
        path.write_text("")
        assert not store.claim("comparison", "group", ["k"])
        os.utime(path, (time.time() - 60,) * 2)
    assert store.claim("comparison", "group", ["k"])


def test_a_writer_elsewhere_lives_by_its_signs(tmp_path):
    store = Store(tmp_path)
    sign = tmp_path / "alive" / "node-7-1-abcd"
    assert not store.is_alive(sign.name)
    sign.parent.mkdir()
    sign.touch()
    assert store.is_alive(sign.name)
    os.utime(sign, (time.time() - module.SILENCE - 1,) * 2)
    assert not store.is_alive(sign.name)
    assert not store.is_alive("not a writer")


def test_signs_of_life_go_on_and_end_with_the_process(tmp_path, monkeypatch):
    code = (
        "import sys; from gexlib import store; store.BEAT = 0.05; s = store.Store(sys.argv[1]); s.live(); "
        "print(s.writer, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        sign = tmp_path / "alive" / writer.stdout.readline().strip()
        os.utime(sign, (0, 0))
        until = time.time() + 20
        while sign.stat().st_mtime == 0 and time.time() < until:
            time.sleep(0.02)
        assert Store(tmp_path).is_alive(sign.name)
        writer.communicate("\n")
    assert not sign.exists()
