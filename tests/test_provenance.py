import shutil

import pytest

from gexlib import provenance


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package that may be edited."""
    target = tmp_path / "gexlib"
    shutil.copytree(provenance.PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", target)

    def fingerprint(experiment="comparison"):
        provenance.fingerprint.cache_clear()
        return provenance.fingerprint(experiment)

    yield target, fingerprint
    provenance.fingerprint.cache_clear()


def test_comments_and_docstrings_leave_the_fingerprint(copy):
    package, fingerprint = copy
    before = fingerprint()
    path = package / "training.py"
    text = path.read_text()
    path.write_text("# a comment\n" + text.replace('"""Train a network in place.', '"""Train the network in place.'))
    assert path.read_text() != text
    assert fingerprint() == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("training.py", "momentum: float = 0.9", "momentum: float = 0.8"),
        ("training.py", ".mean()\n\n\ndef batches", ".sum()\n\n\ndef batches"),
        ("tasks.py", "MIN_CLASS = 5", "MIN_CLASS = 6"),
        ("baselines.py", '"C": [1e-3,', '"C": [1e-4,'),
    ],
)
def test_an_edit_of_code_changes_it_also_in_an_imported_module(copy, module, old, new):
    package, fingerprint = copy
    before = fingerprint()
    path = package / module
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert fingerprint() != before


def test_only_experiments_that_use_a_module_are_touched(copy):
    package, fingerprint = copy
    before = fingerprint("comparison"), fingerprint("pan_to_specific")
    path = package / "experiments" / "pan_to_specific.py"
    path.write_text(path.read_text().replace("PROTOCOL = 1", "PROTOCOL = 2"))
    assert fingerprint("comparison") == before[0]
    assert fingerprint("pan_to_specific") != before[1]


def test_moving_files_about_changes_no_number(copy):
    package, fingerprint = copy
    names = {path.relative_to(package).as_posix() for path in provenance.modules("comparison")}
    assert {"training.py", "models.py", "baselines.py", "tasks.py", "metrics.py"} <= names
    assert not names & {"runner.py", "results.py", "files.py", "figures.py", "cli.py"}
    assert fingerprint()
