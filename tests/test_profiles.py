import nbformat
import pytest
import yaml

from gexlib import profiles
from gexlib.errors import InputError
from gexlib.experiments import SECTIONS
from gexlib.experiments.base import check
from gexlib.files import project_root
from gexlib.notebook import notebook_path


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


@pytest.mark.parametrize("text", ["n", "=3", "n=[8,"])
def test_unreadable_overrides_are_refused(text):
    with pytest.raises(InputError, match="-p "):
        profiles.overrides([text])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nn": 3}, "parameter 'nn' is not known"),
        ({"folds": "three"}, "folds='three' should be of type int"),
        ({"folds": True}, "folds=True should be of type int"),
        ({"n": 8}, "n=8 should be of type list"),
        ({"n": [8.5]}, "should be of type list"),
        ({"targets": "BRCA"}, "targets='BRCA' should be of type list"),
    ],
)
def test_wrong_names_and_types_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        profiles.parameters(SECTIONS["pan-to-specific"], "smoke", changes)


def test_unknown_profiles_and_broken_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="profile 'nope' is not known: use one of demo, record, smoke"):
        profiles.load("nope")
    (tmp_path / "profiles").mkdir()
    monkeypatch.setattr(profiles, "project_root", lambda: tmp_path)
    for text in ("data: [", "- 1", yaml.safe_dump({"nowhere": {}})):
        (tmp_path / "profiles" / "bad.yml").write_text(text)
        with pytest.raises(InputError, match="bad.yml"):
            profiles.load("bad")
    assert project_root().is_dir()
