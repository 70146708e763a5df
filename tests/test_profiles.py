from collections.abc import Sequence
from dataclasses import asdict
from typing import get_type_hints

import nbformat
import pytest
import yaml

from gexlib import profiles
from gexlib.checks import in_words
from gexlib.errors import InputError
from gexlib.experiments import SECTIONS
from gexlib.experiments.base import check
from gexlib.files import project_root
from gexlib.pages import notebook_path
from gexlib.training import Training
from gexlib.transfer import Denoising


def parameters_cell(section) -> dict:
    book = nbformat.read(notebook_path(section), 4)
    (cell,) = [c for c in book.cells if "parameters" in c.metadata.get("tags", [])]
    namespace: dict = {}
    exec(cell.source, namespace)  # plain literals of our own notebooks
    namespace.pop("__builtins__")
    return namespace


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda s: s.name)
def test_the_notebooks_defaults_are_the_smoke_profile(section):
    assert parameters_cell(section) == profiles.load("smoke")[section.name]


@pytest.mark.parametrize("profile", profiles.names())
def test_every_profile_names_every_parameter_with_its_type(profile):
    blocks = profiles.load(profile)
    assert set(blocks) == set(SECTIONS)
    for name, block in blocks.items():
        kind = SECTIONS[name].module.Parameters
        check(kind, block, name)
        assert set(block) == set(kind.__dataclass_fields__)


def test_overrides_are_read_as_yaml():
    read = profiles.overrides(["targets=[BRCA]", "n=[8,16]", "folds=3", "cohort=simulated-tcga:demo,seed=2"])
    assert read == {"targets": ["BRCA"], "n": [8, 16], "folds": 3, "cohort": "simulated-tcga:demo,seed=2"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("-2E+4", -20000.0), ("1.5e3", 1500.0), (".5e1", 5.0), ("[1e-3, 3]", [0.001, 3]),
        ("{l1: 1e-4, epochs: 3}", {"l1": 1e-4, "epochs": 3}), ("1e", "1e"), ("e3", "e3"), ("'1e-3'", "1e-3"),
        ("tcga:1e3", "tcga:1e3"), ("1e3x", "1e3x"), ("12", 12), ("0.5", 0.5),
    ],
)  # fmt: skip
def test_numbers_may_be_written_with_an_exponent_and_no_point(text, value, tmp_path, monkeypatch):
    (read,) = profiles.overrides([f"x={text}"]).values()
    assert read == value and type(read) is type(value)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yml").write_text(f"data:\n  x: {text}\n")
    monkeypatch.setattr(profiles, "project_root", lambda: tmp_path)
    assert profiles.load("mine") == {"data": {"x": value}}


def test_a_profile_may_leave_out_fields_but_not_the_section_asked_for(tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yml").write_text("comparison:\n  repeats: 3\n")
    monkeypatch.setattr(profiles, "project_root", lambda: tmp_path)
    section = SECTIONS["comparison"]
    read = profiles.parameters(section, "mine", {"n": [9]})
    assert read == {**asdict(section.module.Parameters()), "repeats": 3, "n": [9]}
    with pytest.raises(InputError, match="profile mine has no block data: add one, or name the sections .* comparison"):
        profiles.parameters(SECTIONS["data"], "mine", {})


def test_every_type_of_a_parameter_has_words():
    for section in SECTIONS.values():
        for kind in get_type_hints(section.module.Parameters).values():
            assert in_words(kind)
    for kind in (*get_type_hints(Training).values(), *get_type_hints(Denoising).values()):
        assert in_words(kind)
    assert in_words(str | list[str]) == "a name or a list of names"
    assert in_words(Sequence[int]) == "a list of whole numbers" and in_words(bool) == "true or false"
    assert in_words(list[list[int]]) == "a list of lists of whole numbers"


@pytest.mark.parametrize("text", ["n", "=3", "n=[8,"])
def test_unreadable_overrides_are_refused(text):
    with pytest.raises(InputError, match="-p "):
        profiles.overrides([text])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nn": 3}, "parameter 'nn' is not known"),
        ({"folds": "three"}, "folds='three' should be a whole number"),
        ({"folds": True}, "folds=True should be a whole number"),
        ({"cohort": 3}, "cohort=3 should be a name or a list of names"),
        ({"seed": -1}, "seed=-1 should be 0 or greater"),
        ({"network:{hidden": None}, "not known; it takes .*; put a space after each colon"),
        ({"n": 8}, "n=8 should be a list of whole numbers"),
        ({"n": [8.5]}, "should be a list of whole numbers"),
        ({"targets": "BRCA"}, "targets='BRCA' should be a list of names"),
    ],
)
def test_wrong_names_and_types_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        profiles.parameters(SECTIONS["pan-to-specific"], "smoke", changes)


def test_unknown_profiles_and_broken_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="profile 'nope' is not known: use one of demo, paper, record, smoke"):
        profiles.load("nope")
    (tmp_path / "profiles").mkdir()
    monkeypatch.setattr(profiles, "project_root", lambda: tmp_path)
    for text in ("data: [", "- 1", yaml.safe_dump({"nowhere": {}})):
        (tmp_path / "profiles" / "bad.yml").write_text(text)
        with pytest.raises(InputError, match="bad.yml"):
            profiles.load("bad")
    assert project_root().is_dir()
