"""Fixtures that all tests share."""

import os
import resource
from contextlib import suppress
from pathlib import Path

# One thread a process, before numpy and torch are imported: two pytest workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import settings

# No test fails because a machine is busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Read once, before any test changes the environment.
GEXLIB_DATA = os.environ.get("GEXLIB_DATA", "")


@pytest.hookimpl(tryfirst=True)  # before nbval starts a notebook's kernel
def pytest_runtest_setup(item):
    """Let nbval run notebooks as in a project that has no record: the book's tests draw them with it."""
    notebook = item.path.suffix == ".ipynb"
    os.environ.pop("GEXLIB_RESULTS", None)
    os.environ.update({"GEXLIB_RESULTS": str(item.config.rootpath / "tests")} if notebook else {})


@pytest.fixture(scope="session", autouse=True)
def session_home(tmp_path_factory):
    """Give the session an empty GEXLIB_HOME, so that no test reads or writes the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("GEXLIB_HOME", str(folder))
        yield folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Give this one test an empty GEXLIB_HOME of its own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GEXLIB_HOME", str(folder))
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project folder, current for this test."""
    for name in ("notebooks", "profiles", "results"):
        (tmp_path / "project" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def bounded():
    """Bound the memory of this process: a parser that runs wild ends in an error, and not the machine in want."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(ValueError, OSError):  # some systems bound no addresses
        resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of real cohorts that the environment names."""
    folder = Path(GEXLIB_DATA).expanduser().absolute()
    if not GEXLIB_DATA or not (folder / "tcga-pairs").is_dir():
        pytest.skip("needs real data: set GEXLIB_DATA to a folder that holds tcga-pairs/<TYPE>.RData")
    return folder


@pytest.fixture(scope="session")
def make_cohort():
    """Return a function that makes a small cohort, not yet checked."""

    def make(n_samples=12, n_genes=5, name="small", seed=0, **columns):
        obs = {
            "status": np.resize(["cancer", "normal"], n_samples),
            "tissue": np.resize(["lung", "lung", "breast", "breast"], n_samples),
            "patient": [f"p{i // 2}" for i in range(n_samples)],
        } | columns
        return AnnData(
            X=np.random.default_rng(seed).normal(8, 2, (n_samples, n_genes)).astype(np.float32),
            obs=pd.DataFrame(obs, index=[f"s{i}" for i in range(n_samples)]),
            var=pd.DataFrame(index=[f"g{i}" for i in range(n_genes)]),
            uns={"name": name, "source": "made for a test", "scale": "log2"},
        )

    return make
