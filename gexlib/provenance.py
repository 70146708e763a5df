"""Where a number comes from: code fingerprint, library versions, commit, date."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import subprocess
import tarfile
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from gexlib.syntax import reachable

PACKAGE = Path(__file__).parent
#: Parts of gexlib that decide no number: cohorts are known by their digest, the rest moves or sums up rows.
OUTSIDE = (
    "checks.py",
    "cohorts/",
    "errors.py",
    "files.py",
    "provenance.py",
    "engines/",
    "progress.py",
    "rehearsal.py",
    "results.py",
    "runner.py",
    "statistics.py",
    "status.py",
    "store.py",
    "syntax.py",
)
ROOTS = ("evaluate", "group")  # of an experiment's module: what decides the numbers of a cell
LIBRARIES = ("torch", "numpy", "scikit-learn", "xgboost", "pandas", "scipy")


def _parts(package: Path, experiment: str) -> dict[str, str]:
    """Find the parts of an experiment in a package folder, as `parts` does in this one."""
    module = importlib.util.find_spec(experiment).origin if "." in experiment else f"experiments.{experiment}"
    return reachable(package, module, ROOTS, OUTSIDE)


@cache
def parts(experiment: str) -> dict[str, str]:
    """Return the definitions of gexlib that decide an experiment's numbers, each with a digest of its code.

    Returns
    -------
    dict of str to str
        Such as "training.fit": 12 hexadecimal digits. Begun at the experiment's ``evaluate`` and ``group``, names are
        followed from module to module; what only lists cells or sums up rows does not count, nor do comments and
        docstrings. Where a name may mean several things, all of them count.
    """
    return _parts(PACKAGE, experiment)


@cache
def fingerprint(experiment: str) -> str:
    """12 hexadecimal digits of the code behind an experiment, see `parts`."""
    return hashlib.sha256(json.dumps(parts(experiment)).encode()).hexdigest()[:12]


def changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Say which parts changed, are new or are gone."""
    found = {name: "changed" for name in before.keys() & now.keys() if before[name] != now[name]}
    found |= dict.fromkeys(now.keys() - before.keys(), "is new") | dict.fromkeys(before.keys() - now.keys(), "is gone")
    return [f"{name} {what}" for name, what in sorted(found.items())]


@cache
def parts_at(commit: str, experiment: str) -> dict[str, str] | None:
    """Return the `parts` of an experiment at a commit; None where git does not have it."""
    try:
        packed = subprocess.run(["git", "archive", commit], cwd=PACKAGE, capture_output=True, check=True, timeout=60)
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
            files.extractall(package := Path(folder) / PACKAGE.name, filter="data")
            return _parts(package, experiment) or None
    except (OSError, subprocess.SubprocessError, tarfile.TarError):
        return None


@cache
def versions() -> str:
    """Versions of Python and of the libraries that compute."""
    installed = (f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return "; ".join([f"Python {platform.python_version()}", *installed])


@cache
def commit() -> tuple[str, bool]:
    """Commit of the code, and whether the working tree differs from it; ("unknown", True) outside git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=PACKAGE, capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD"), bool(git("status", "--porcelain", "--", str(PACKAGE)))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


def now() -> str:
    """Date and time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(experiment: str, seconds: float) -> dict:
    """Provenance columns of the rows a cell gives."""
    revision, dirty = commit()
    return {
        "fingerprint": fingerprint(experiment),
        "versions": versions(),
        "commit": revision,
        "dirty": dirty,
        "seconds": round(seconds, 3),
        "date": now(),
    }


def host() -> dict:
    """Size of this machine: cores usable and memory in GiB."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cores": cores, "memory_gib": round(memory, 1), "machine": platform.machine()}
