"""Simulation at the article's full size."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from gexlib.cohorts import open_cohort
from gexlib.cohorts.simulate import PRESETS

NAME = "simulated-microarray:paper"
GIB = 2**30
pytestmark = pytest.mark.stress


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux: memory is read from /proc")
def test_full_size_cohort_is_built_on_disk(home, record_property):
    """16,709 samples x 54,675 genes simulated into the memory-mapped store: the matrix never lies in memory."""
    samples, genes, _ = PRESETS["microarray"]["paper"]
    assert (samples, genes) == (16709, 54675)
    size = 4 * samples * genes
    home.mkdir()
    if shutil.disk_usage(home).free < 1.5 * size:
        pytest.skip(f"needs {1.5 * size / GIB:.0f} GiB of free disk under {home}")
    try:
        code = f"from gexlib.cohorts import open_cohort; open_cohort({NAME!r})"
        begun = time.time()
        child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "GEXLIB_HOME": str(home)})
        peak = mapped = 0
        while child.poll() is None:
            try:
                with open(f"/proc/{child.pid}/status") as status:
                    kib = dict(line.split(":", 1) for line in status)
                peak = max(peak, int(kib["RssAnon"].split()[0]) * 1024)
                mapped = max(mapped, int(kib["RssFile"].split()[0]) * 1024)
            except (OSError, KeyError):
                pass  # it has just ended
            time.sleep(0.02)
        seconds = time.time() - begun
        assert child.returncode == 0
        record_property("matrix on disk", f"{size / GIB:.2f} GiB")
        record_property("time", f"{seconds:.0f} s")
        record_property("peak anonymous memory", f"{peak / GIB:.2f} GiB")
        record_property("peak of mapped pages", f"{mapped / GIB:.2f} GiB")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GEXLIB_HOME", str(home))
            begun = time.time()
            cohort = open_cohort(NAME)
            record_property("opened again in", f"{time.time() - begun:.1f} s")
        assert isinstance(cohort.X, np.memmap) and cohort.shape == (samples, genes)
        drawn = np.sort(np.random.default_rng(0).choice(samples, 40, replace=False))
        drawn[[0, -1]] = 0, samples - 1
        rows = np.asarray(cohort.X[drawn])
        assert np.isfinite(rows).all() and rows.min() >= 2 and rows.max() <= 16
        assert (rows.std(axis=1) > 0.5).all() and len(np.unique(rows[:, 0])) > 30
        assert cohort.obs.groupby(["status", "origin", "tissue"]).size().min() >= 12
        # imports, labels, up to 300 programs twice for a moment, and a block of 64 MiB
        assert peak < GIB / 2, f"{peak / GIB:.2f} GiB of anonymous memory"
    finally:
        shutil.rmtree(home, ignore_errors=True)
