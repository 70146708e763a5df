import errno
import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gexlib import cohorts
from gexlib.cohorts import schema, simulate, store
from gexlib.errors import InputError


def hidden(home):
    """Return what a build left behind."""
    return [path.name for path in (home / "cohorts").glob(".*")]


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 6)),
    seed=st.integers(0, 2**32 - 1),
    label=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_saved_cohort_opens_as_it_was(make_cohort, shape, seed, label, name):
    adata = make_cohort(*shape, seed=seed, study=[label] * shape[0], age=np.arange(shape[0]))
    adata.var["symbol"] = [label] * shape[1]
    adata.uns["notes"] = [label, "é"]
    checked = schema.check(adata)
    store.save(adata, name)
    opened = store.open_stored(name)
    np.testing.assert_array_equal(opened.X, adata.X)
    pd.testing.assert_frame_equal(opened.obs, checked.obs)
    pd.testing.assert_frame_equal(opened.var, checked.var)
    assert dict(opened.uns) == dict(checked.uns) | {"name": name}
    assert schema.digest(opened) == opened.uns["digest"] == checked.uns["digest"]
    assert name in store.stored() and store.is_stored(name)


def test_the_matrix_is_a_read_only_memory_map(home, make_cohort):
    store.save(make_cohort())
    X = store.open_stored("small").X
    assert isinstance(X, np.memmap) and X.flags.c_contiguous and not X.flags.writeable
    assert isinstance(schema.check(store.open_stored("small")).X, np.memmap)


def test_names_that_look_alike_keep_apart(home, make_cohort):
    alike = ["a:b", "a-b", "A-b", "a=b", "../a-b", "a" * 90, "a" * 91]
    assert len({store.folder_of(name) for name in alike}) == len(alike)
    assert {store.folder_of(name).parent for name in alike} == {home / "cohorts"}
    assert store.folder_of("tcga-pairs").name == "tcga-pairs"


def test_a_matrix_is_built_in_place(home, make_cohort):
    adata = make_cohort()
    with store.create("built", 12, 5) as draft:
        assert not store.is_stored("built")
        draft.X[:] = adata.X
        own = adata.copy()
        own.X = draft.X
        draft.finish(own)
    np.testing.assert_array_equal(store.open_stored("built").X, adata.X)
    assert store.stored() == ["built"] and hidden(home) == []


def test_a_draft_copies_another_matrix(home, make_cohort):
    adata = make_cohort()
    with store.create("built", 12, 5) as draft:
        draft.finish(adata)
    np.testing.assert_array_equal(store.open_stored("built").X, adata.X)


def test_a_draft_of_another_shape_is_refused(home, make_cohort):
    with pytest.raises(InputError, match=r"announced as \(12, 6\) but is \(12, 5\)"):
        with store.create("built", 12, 6) as draft:
            draft.finish(make_cohort())


def test_of_two_builders_the_first_wins(home, make_cohort):
    with store.create("built", 12, 5) as late:
        with store.create("built", 12, 5) as early:
            early.finish(make_cohort(seed=1))
        late.finish(make_cohort(seed=2))
    np.testing.assert_array_equal(store.open_stored("built").X, make_cohort(seed=1).X)
    assert hidden(home) == []


def test_a_newer_copy_replaces_while_the_old_is_open(home, make_cohort):
    store.save(make_cohort(seed=1))
    old = store.open_stored("small")
    store.save(make_cohort(n_samples=4, seed=2))
    np.testing.assert_array_equal(old.X, make_cohort(seed=1).X)
    assert store.open_stored("small").n_obs == 4 and hidden(home) == []
    store.save(make_cohort(n_samples=6), replace=False)
    assert store.open_stored("small").n_obs == 4


def test_a_failed_build_leaves_nothing(home, make_cohort):
    with pytest.raises(KeyboardInterrupt), store.create("built", 12, 5):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError, match="not finished"), store.create("built", 12, 5):
        pass
    bad = make_cohort()
    bad.X[0, 0] = np.nan
    with pytest.raises(InputError), store.create("built", 12, 5) as draft:
        draft.finish(bad)
    assert store.stored() == [] and hidden(home) == []


def test_leftovers_of_killed_builds_are_swept_after_a_week(home, make_cohort):
    for name, days in ((".building-old", 8), (".old-old", 8), (".building-new", 6)):
        folder = home / "cohorts" / name
        folder.mkdir(parents=True)
        then = folder.stat().st_mtime - days * 24 * 3600
        os.utime(folder, (then, then))
    store.save(make_cohort())
    assert hidden(home) == [".building-new"]


def test_an_entry_that_json_cannot_hold_is_named(home, make_cohort):
    adata = make_cohort()
    adata.uns["colours"] = {1, 2}
    with pytest.raises(InputError, match="entry in uns.*set"):
        store.save(adata)
    adata.uns["colours"] = np.arange(2)
    store.save(adata)
    assert store.open_stored("small").uns["colours"] == [0, 1]


def test_a_cohort_without_a_name_is_refused(home, make_cohort):
    adata = make_cohort()
    del adata.uns["name"]
    with pytest.raises(InputError, match="no name"):
        store.save(adata)


def cut_short(folder):
    with open(folder / "X.npy", "r+b") as file:
        file.truncate(200)


def other_shape(folder):
    np.save(folder / "X.npy", np.zeros((12, 4), np.float32))


def doubles(folder):
    np.save(folder / "X.npy", np.zeros((12, 5)))


def a_pickle(folder):
    (folder / "X.npy").write_bytes(pickle.dumps(np.zeros((12, 5))))


def an_object_array(folder):
    np.save(folder / "X.npy", np.full((12, 5), None), allow_pickle=True)


def no_labels(folder):
    (folder / "obs.parquet").unlink()


def cut_labels(folder):
    (folder / "var.parquet").write_bytes((folder / "var.parquet").read_bytes()[:50])


def empty_uns(folder):
    (folder / "uns.json").write_text("")


def uns_of_another(folder):
    uns = json.loads((folder / "uns.json").read_text())
    (folder / "uns.json").write_text(json.dumps(uns | {"name": "another"}))


def no_digest(folder):
    uns = json.loads((folder / "uns.json").read_text())
    del uns["digest"]
    (folder / "uns.json").write_text(json.dumps(uns))


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        other_shape,
        doubles,
        a_pickle,
        an_object_array,
        no_labels,
        cut_labels,
        empty_uns,
        uns_of_another,
        no_digest,
    ],
)
def test_damage_is_named_and_mended_by_deleting(home, make_cohort, damage):
    store.save(make_cohort())
    folder = store.folder_of("small")
    damage(folder)
    with pytest.raises(InputError) as caught:
        store.open_stored("small")
    assert f"delete folder {folder} and fetch again" in str(caught.value)
    assert "\n" not in str(caught.value)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="not in the store.*gexlib fetch small"):
        store.open_stored("small")
    store.save(make_cohort())
    assert store.open_stored("small").shape == (12, 5)


def test_a_damaged_cohort_is_replaced_by_a_new_save(home, make_cohort):
    store.save(make_cohort())
    no_labels(store.folder_of("small"))
    store.save(make_cohort())
    assert store.open_stored("small").shape == (12, 5)


def test_a_full_disk_is_found_before_the_matrix_is_written(home, make_cohort, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(InputError, match="cannot write to .*No space left.*GEXLIB_HOME"):
        store.save(make_cohort())
    assert hidden(home) == []


def test_a_disk_that_is_too_small_is_found_without_fallocate(home, make_cohort, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 0, 100))
    with pytest.raises(InputError, match="No space left"):
        store.save(make_cohort())
    assert hidden(home) == []


def test_a_home_that_cannot_be_made(home, make_cohort):
    home.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=f"cannot write to {home}.*GEXLIB_HOME"):
        store.save(make_cohort())
    assert store.stored() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_home(home, make_cohort):
    home.mkdir()
    home.chmod(0o555)
    with pytest.raises(InputError, match=f"cannot write to {home}.*Permission denied"):
        store.save(make_cohort())


def test_an_own_cohort_opens_by_name(home, make_cohort):
    store.save(make_cohort(), "my cohort")
    assert cohorts.open_cohort("my cohort").uns["name"] == "my cohort"
    assert "my cohort" in cohorts.names()
    with pytest.raises(InputError, match="no cohort your cohort: choose from .*tcga-pairs.*my cohort"):
        cohorts.open_cohort("your cohort")


def test_describe_counts_what_is_known(home, make_cohort):
    store.save(make_cohort(cancer_type=["LUAD", ""] * 6))
    summary = cohorts.describe("small")
    assert summary["samples"] == 12 and summary["genes"] == 5 and summary["patients"] == 6
    assert summary["status"] == {"cancer": 6, "normal": 6}
    both = {"cancer": 3, "normal": 3}
    assert summary["tissue"].to_dict("index") == {"breast": both, "lung": both}
    assert summary["cancer_type"].to_dict("index") == {"LUAD": {"cancer": 6, "normal": 0}}
    assert "origin" not in summary
    assert summary["digest"] == store.open_stored("small").uns["digest"]


SIMULATED = "simulated-tcga:samples=60,genes=50,tissues=2"


def test_a_simulated_cohort_is_built_when_it_is_first_opened(home):
    first = cohorts.open_cohort(SIMULATED)
    assert first.uns["name"] in store.stored() and first.uns["simulated"] is True
    assert isinstance(first.X, np.memmap) and first.shape == (60, 50)
    np.testing.assert_array_equal(first.X, simulate.simulate(simulate.Simulation.from_name(SIMULATED)).X)
    written = (store.folder_of(first.uns["name"]) / "X.npy").stat().st_ino
    assert cohorts.open_cohort(SIMULATED).uns == first.uns
    assert (store.folder_of(first.uns["name"]) / "X.npy").stat().st_ino == written
    assert hidden(home) == []


def test_a_simulated_cohort_is_built_again_when_the_simulator_changes(home, monkeypatch):
    before = cohorts.open_cohort(SIMULATED).uns["digest"]
    monkeypatch.setattr(simulate, "SIMULATOR", simulate.SIMULATOR + 1)
    after = cohorts.open_cohort(SIMULATED).uns["digest"]
    assert after != before
    assert store.open_stored(store.stored()[0]).uns["digest"] == after
    assert len(store.stored()) == 1 and hidden(home) == []


def test_every_name_on_the_list_is_known(home):
    for name in cohorts.names():
        assert name in cohorts.PUBLIC or simulate.Simulation.from_name(name).name == name


def test_importing_cohorts_is_light():
    code = "import sys, gexlib.cohorts; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "gexlib.cohorts.store" in loaded
    assert not {"torch", "pandas", "anndata", "requests", "rdata", "xarray", "sklearn"} & set(loaded)


def test_no_thread_holds_a_python_file_when_the_interpreter_ends(home, make_cohort, monkeypatch):
    def threaded(*_, **__):
        raise AssertionError("pandas hands a Python file to pyarrow's threads, which can abort the process at its end")

    store.save(make_cohort(name="one=1"))
    monkeypatch.setattr(pd, "read_parquet", threaded)
    opened = store.open_stored("one=1")
    assert list(opened.obs["patient"][:2]) == ["p0", "p0"] and opened.var_names[0] == "g0"
