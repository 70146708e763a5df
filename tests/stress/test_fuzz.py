"""Every parser under 10,000 damaged files."""

import faulthandler
import os
import signal
import time
import warnings

import pytest

from gexlib import takeaway
from gexlib.cohorts import microarray, open_cohort, schema
from gexlib.takeaway import file
from tests import test_takeaway
from tests.cohorts import test_damage

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("bounded")]

COPIES = int(os.environ.get("STRESS_COPIES", "10000"))
SECONDS = 3  # of one .h5ad file


def told(record_property, seed, found, begun):
    record_property("seed", seed)
    record_property("outcomes", ", ".join(f"{n:,} {name}" for name, n in sorted(found.items())))
    record_property("a file", f"{1000 * (time.time() - begun) / COPIES:.0f} ms")


@pytest.fixture
def seed():
    return int(os.environ.get("STRESS_SEED", time.time()))


@pytest.mark.parametrize("parser", test_damage.PARSERS)
def test_damaged_files_of_a_source(parser, seed, tmp_path, home, monkeypatch, record_property):
    """10,000 damaged copies of a public source's files: a clean cohort or one sentence, nothing half-stored."""
    monkeypatch.setenv("GEXLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(microarray, "MORE_THAN", 10)
    begun = time.time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = test_damage.survive(parser, COPIES, seed, tmp_path / "data", home)
    told(record_property, seed, found, begun)


def forked(path):
    """Do what `schema._trial` does, by a fork of this process, which has everything imported."""
    child = os.fork()
    if not child:
        try:
            faulthandler.disable()  # a crash is expected, and told by the signal
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            from anndata import read_h5ad

            warnings.simplefilter("ignore")
            read_h5ad(path)
        finally:
            os._exit(0)
    until = time.time() + SECONDS
    while time.time() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else None
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "no end"


@pytest.mark.parametrize("kind", ["tsv", "csv", "parquet", "h5ad"])
def test_damaged_files_of_your_own(kind, seed, tmp_path, home, monkeypatch, record_property):
    """10,000 damaged copies of a cohort of one's own, matrix or sample sheet: a clean cohort or one sentence."""
    monkeypatch.setattr(schema, "_trial", forked)
    begun = time.time()
    found = test_damage.survive_own(kind, COPIES, seed, tmp_path, home)
    told(record_property, seed, found, begun)


def test_damaged_networks(seed, tmp_path, record_property):
    """10,000 damaged copies of a network to take away: a network or one sentence."""
    taken = takeaway.pretrain(open_cohort("simulated-tcga:smoke"), changes=test_takeaway.SMALL)
    file.save(taken, tmp_path / "net.safetensors")
    begun = time.time()
    told(record_property, seed, test_takeaway.survive(tmp_path / "net.safetensors", COPIES, seed), begun)
