"""The pinned environments agree with each other and with what is installed; versions, paths, help."""

import importlib.metadata
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lines):
    """Versions by canonical name; a line that is not exactly one version is refused."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, f"{line} is not pinned"
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is pinned twice"
        found[name] = specifier.version
    return found


@pytest.fixture(scope="module")
def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return pins(line for line in lines if line.strip() and not line.startswith("#"))


@pytest.fixture(scope="module")
def needed():
    """Names of all packages that the project with all extras needs here, in turn."""
    extras = PROJECT["optional-dependencies"]
    pending = [Requirement(text) for text in sum(extras.values(), PROJECT["dependencies"])]
    found, seen = set(), set()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in importlib.metadata.requires(name) or []:
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    pending.append(inner)
        found.add(name)
    return found


def test_every_package_is_pinned(needed, constraints):
    # torch with CUDA brings the vendor's libraries, each pinned by torch itself
    vendor = {name for name in needed if re.match(r"(nvidia|cuda)-|triton$", name) and name != "nvidia-nccl-cu12"}
    assert not needed - vendor - set(constraints)


def test_nothing_else_is_pinned(needed, constraints):
    elsewhere = {"appnope", "nvidia-nccl-cu12", "greenlet"}  # needed on some platforms only
    assert not set(constraints) - needed - elsewhere


def test_installed_versions_are_the_pinned(needed, constraints):
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in needed & set(constraints)}
    assert installed == {name: constraints[name] for name in installed}


def test_lower_bounds_admit_the_pins(constraints):
    for text in sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"]):
        requirement = Requirement(text)
        assert constraints[canonicalize_name(requirement.name)] in requirement.specifier, text


def test_conda_environment_has_the_same_versions(constraints):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda, (pip,) = [
        [entry for entry in environment["dependencies"] if isinstance(entry, kind)] for kind in (str, dict)
    ]
    assert environment["name"] == "gexlib"
    assert "pip" in conda
    (python,) = [entry.partition("=")[2] for entry in conda if entry.startswith("python=")]
    assert f"{python}.0" in Requirement(f"python{PROJECT['requires-python']}").specifier

    options = [entry for entry in pip["pip"] if entry.startswith("-")]
    assert options == ["-c constraints.txt", "-e .[book,test]"]
    named = pins(entry for entry in pip["pip"] if not entry.startswith("-"))
    main = "jupyter-book papermill torch numpy pandas scikit-learn xgboost seaborn nbval".split()
    assert set(main) <= set(named)
    assert named == {name: constraints[name] for name in named}


def test_one_version_everywhere():
    version = PROJECT["version"]
    assert importlib.metadata.version("gexlib") == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


def test_make_help_names_every_target():
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("book", "test", "stress", "lint", "bench", "clean", "help"):
        assert re.search(rf"^ +make {target} +\w", said, re.MULTILINE), f"make help does not explain {target}"


def test_no_path_of_one_machine():
    texts = [".ipynb", ".md", ".yml", ".csv", ".json", ".toml", ".cff", ".txt"]
    folders = ["", "book", "notebooks", "profiles", "results"]
    for path in (p for folder in folders for p in (ROOT / folder).glob("*") if p.suffix in texts):
        found = re.search(r"(?<![\w.:/])/(home|root|Users|tmp|work|mnt)/\w+", path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)} holds the path {found[0]}"
