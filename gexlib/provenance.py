"""Where a number comes from: code fingerprint, library versions, commit, date."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
#: Parts of gexlib that decide no number: cohorts are known by their digest, the rest moves or sums up rows.
OUTSIDE = (
    "checks.py",
    "cohorts/",
    "errors.py",
    "files.py",
    "provenance.py",
    "rehearsal.py",
    "results.py",
    "engines.py",
    "progress.py",
    "runner.py",
    "status.py",
    "store.py",
    "statistics.py",
)
LIBRARIES = ("torch", "numpy", "scikit-learn", "xgboost", "pandas", "scipy")


def _normalised(path: Path) -> str:
    """Syntax tree of a module as text, without docstrings (comments are gone already)."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)


def _imports(path: Path) -> set[Path]:
    """Modules of gexlib that a module imports, anywhere in its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    found = set()
    for name in names:
        if name.split(".")[0] == "gexlib":
            inside = PACKAGE.joinpath(*name.split(".")[1:])
            found |= {p for p in (inside.with_suffix(".py"), inside / "__init__.py") if p.is_file()}
    return {path for path in found if not path.relative_to(PACKAGE).as_posix().startswith(OUTSIDE)}


def modules(experiment: str) -> list[Path]:
    """Files of gexlib that an experiment's numbers depend on: its module and all it imports, in turn."""
    pending, found = {PACKAGE / "experiments" / f"{experiment}.py" if "." not in experiment else PACKAGE.parent / (experiment.replace(".", "/") + ".py")}, set()
    while pending:
        path = pending.pop()
        found.add(path)
        pending |= _imports(path) - found
    return sorted(found)


@cache
def fingerprint(experiment: str) -> str:
    """12 hexadecimal digits of the code behind an experiment; comments and docstrings do not count."""
    total = hashlib.sha256()
    for path in modules(experiment):
        total.update(f"{path.name}\n{_normalised(path)}\n".encode())
    return total.hexdigest()[:12]


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


def parts(experiment):
    """stub"""
    return {}
