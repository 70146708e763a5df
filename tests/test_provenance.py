"""The fingerprint of the code: what counts, and for which experiments."""

import ast
import shutil
import subprocess
import sys
import textwrap

import pytest

from gexlib import provenance, status
from gexlib.experiments import SECTIONS, module_of
from tests.test_runner import SMALL, cells_of

ALL = sorted({section.experiment for section in SECTIONS.values()})
TRANSFERS = {"cell_lines_and_patients", "pan_to_specific", "cancer_to_cancer", "unsupervised"}
FOLDS = {"pan_to_specific", "cancer_to_cancer"}
NETWORKS = {"sensitivity", "comparison"} | TRANSFERS


@pytest.fixture
def copy(tmp_path):
    """A copy of the package that may be edited, and what an edit of it marks."""
    target = tmp_path / "gexlib"
    shutil.copytree(provenance.PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    before = {name: provenance._parts(target, name) for name in ALL}

    def marked() -> dict[str, list[str]]:
        now = {name: provenance.changes(before[name], provenance._parts(target, name)) for name in ALL}
        return {name: changes for name, changes in now.items() if changes}

    return target, marked


def test_comments_docstrings_and_layout_change_nothing(copy):
    package, marked = copy
    for path in package.rglob("*.py"):
        path.write_text("# a comment\n" + ast.unparse(ast.parse(path.read_text())))
    text = (package / "training.py").read_text()
    (package / "training.py").write_text(text.replace('"""Train a network in place.', '"""Train the network in place.'))
    assert text != (package / "training.py").read_text() and marked() == {}


@pytest.mark.parametrize(
    ("module", "old", "new", "experiments"),
    [
        ("training.py", ".mean()\n\n\ndef batches", ".sum()\n\n\ndef batches", NETWORKS),  # the loss
        ("training.py", "momentum: float = 0.9", "momentum: float = 0.8", NETWORKS),
        ("tasks.py", "MIN_CLASS = 5", "MIN_CLASS = 6", NETWORKS),
        ("metrics.py", "roc_auc_score", "average_precision_score", NETWORKS),
        ("baselines.py", '"C": [1e-3,', '"C": [1e-4,', NETWORKS - {"sensitivity"}),
        ("transfer.py", "def pretrain_denoising(", "def pretrain_denoising(extra=0, *,", {"unsupervised"}),
        ("experiments/sensitivity.py", "DEEP = ", "DEEP = [1] + ", {"sensitivity"}),
        ("experiments/transfers.py", "def _best(", "def _best(extra=0, *,", TRANSFERS),
        ("experiments/data.py", "PCA_SAMPLES = ", "PCA_SAMPLES = 1 + ", {"data"}),
        ("experiments/pan_to_specific.py", "def fold_of(", "def fold_of(extra=0, *,", FOLDS),
        # what lists cells, sums up or draws decides no number
        ("experiments/pan_to_specific.py", "def cells_of(", "def cells_of(extra=0, *,", set()),
        ("experiments/pan_to_specific.py", "def summarise(", "def summarise(extra=0, *,", set()),
        ("statistics.py", "def compare_arms(", "def compare_arms(extra=0, *,", set()),
        ("runner.py", "def run_cells(", "def run_cells(extra=0, *,", set()),
        ("figures/look.py", "def style(", "def style(extra=0, *,", set()),
    ],
)  # fmt: skip
def test_an_edit_marks_the_experiments_whose_numbers_it_may_change(copy, module, old, new, experiments):
    package, marked = copy
    path = package / module
    assert path.read_text().count(old) >= 1
    path.write_text(path.read_text().replace(old, new))
    assert set(marked()) == experiments


def test_a_statement_that_runs_for_its_effect_marks_who_uses_the_module(copy):
    package, marked = copy
    for module, experiments in (("gram.py", NETWORKS), ("search.py", NETWORKS)):
        path = package / module
        path.write_text(path.read_text() + "\ntorch.manual_seed(1)\n")
        assert set(marked()) == experiments
    assert any(change.endswith("gram.<statements> changed") for change in marked()["comparison"])


# Which names are followed: small packages


def parts_of(folder, **modules) -> set[str]:
    """Parts of an experiment "main" in a package of these modules; ``__`` in a name stands for a folder."""
    for name, text in modules.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return set(provenance._parts(folder, "main")) - {"experiments.main.evaluate"}


@pytest.mark.parametrize(
    ("main", "found"),
    [
        ("from gexlib.a import f\ndef evaluate(): f()", {"a.f", "a.g"}),
        ("from gexlib.a import f as other\ndef evaluate(): other()", {"a.f", "a.g"}),
        ("def evaluate():\n    from gexlib.a import f\n    f()", {"a.f", "a.g"}),
        ("from gexlib import a\ndef evaluate(): a.f()", {"a.f", "a.g"}),
        ("from gexlib import a\ndef evaluate(): getattr(a, 'f')()", {"a.f", "a.g", "a.h"}),
        ("import gexlib.a as m\ndef evaluate(): m.h()", {"a.h"}),
        ("import gexlib.a\ndef evaluate(): gexlib.a.h()", {"a.f", "a.g", "a.h"}),
        ("from gexlib.a import *\ndef evaluate(): h()", {"a.f", "a.g", "a.h"}),
        ("from gexlib.b import f\ndef evaluate(): f()", {"a.f", "a.g"}),  # b has it from a
        ("from gexlib.a import f\ndef evaluate(f): f()", set()),  # a name of its own
        ("from gexlib.a import f\ndef evaluate():\n    def inner(f): f()\n    return f", {"a.f", "a.g"}),
        ("from gexlib.a import f\ndef evaluate(x=f): pass", {"a.f", "a.g"}),
        ("from gexlib.a import f\ndef other(): f()\ndef evaluate(): pass", set()),
        ("from gexlib.a import f\nTABLE = {'f': f}\ndef evaluate(): TABLE", {"experiments.main.TABLE", "a.f", "a.g"}),
        ("from gexlib.c import K\ndef evaluate(): K().m()", {"c.K", "c.Base", "a.h"}),
        ("from gexlib.d import X\ndef evaluate(): X", {"d.X", "d.<statements>", "a.h"}),  # if: X = ..., else: X = h
        ("from gexlib.e import TABLE\ndef evaluate(): TABLE", {"e.TABLE", "e.register", "e.<statements>", "a.h"}),
        ("from gexlib.g import Y\ndef evaluate(): Y", {"g.Y", "g.<statements>", "a.h"}),  # Y["h"] = h
        ("from gexlib.results import Cell\ndef evaluate(): Cell", set()),
    ],
)  # fmt: skip
def test_names_are_followed(tmp_path, main, found):
    modules = {
        "__init__": "",
        "a": "def f(): g()\ndef g(): f()\ndef h(): pass",
        "b": "from gexlib.a import f\nZ = 1",
        "c": "from gexlib.a import h\nclass Base:\n    def m(self): h()\nclass K(Base): pass\nclass L: pass",
        "d": "from gexlib.a import h\nif 1:\n    X = 1\nelse:\n    X = h",
        "e": (
            "from gexlib.a import h\nTABLE = {}\ndef register(f): TABLE[f.__name__] = f\n"
            "@register\ndef one(): h()\ndef two(): pass"
        ),
        "g": "from gexlib.a import h\nY = {}\nY['h'] = h",
        "results": "class Cell: pass",
    }
    assert parts_of(tmp_path / "gexlib", experiments__main=main, **modules) == found


def test_what_runs_is_in_the_parts():
    """Every function of gexlib that runs while cells are evaluated is among the parts of its experiment, or outside."""
    ran: set[tuple[str, str]] = set()

    def note(frame, *_):
        code = frame.f_code
        if code.co_filename.startswith(str(provenance.PACKAGE)):
            ran.add((code.co_filename[len(str(provenance.PACKAGE)) + 1 :], code.co_qualname.split(".")[0]))

    for name, changes in (("pan-to-specific", SMALL), ("data", {"cohort": "simulated-tcga:smoke"})):
        section, cells = cells_of(name, **changes)
        evaluate = module_of(section.experiment).evaluate
        ran.clear()
        sys.setprofile(note)
        try:
            list(evaluate(cells[:4]))
        finally:
            sys.setprofile(None)
        parts = provenance.parts(section.experiment)
        inside = {
            f"{path.removesuffix('.py').replace('/', '.')}.{function}"
            for path, function in ran
            if not path.startswith(provenance.OUTSIDE) and not function.startswith("<")
        }
        assert inside - set(parts) == set() and len(inside) >= 5


# History, words


def test_parts_of_a_commit_are_those_of_its_files(copy, monkeypatch):
    package, _ = copy
    monkeypatch.setattr(provenance, "PACKAGE", package)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "m"]):
        subprocess.run([*git, *words], cwd=package.parent, check=True)
    provenance.parts_at.cache_clear()
    assert provenance.parts_at("HEAD", "comparison") == provenance._parts(package, "comparison")
    assert provenance.parts_at("0123456789", "comparison") is None
    assert provenance.parts_at("HEAD", "never") is None


def test_changes_are_named():
    assert provenance.changes({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == [
        "b changed", "c is gone", "d is new",
    ]  # fmt: skip


def test_an_experiment_outside_the_package_has_a_fingerprint():
    assert set(provenance.parts("tests.toy")) == {"toy.evaluate", "toy.group"}
    assert len(provenance.fingerprint("tests.toy")) == 12
    assert status._changed  # says what changed in it
