"""Notebooks as pages: executed only when something changed, on kernels that they share, refreshed and copied."""

import json
import os

import nbformat
import psutil
import pytest

from gexlib import cli, notebook, provenance
from gexlib.errors import InputError
from gexlib.experiments import section
from gexlib.pages import Page, execute_all, notebook_path
from gexlib.results import table, write_table

PAGE = [
    ("parameters", "cohort = 'none'"),
    ("", "import os\nprint(cohort, os.environ['GEXLIB_PROFILE'], os.environ['GEXLIB_BUDGET'])"),
]


def write(project, name="01_data", cells=PAGE):
    book = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
    for tag, source in cells:
        book.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": [tag] if tag else []}))
    nbformat.write(book, project / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def papermill(monkeypatch):
    """Papermill that copies instead of running a kernel, and counts."""
    import papermill

    calls = []

    def copy(book, target, parameters, **settings):
        calls.append({"parameters": parameters, **settings})
        nbformat.write(book, target)

    monkeypatch.setattr(papermill, "execute_notebook", copy)
    return calls


def execute(project, parameters=None, profile="demo", keys=("k1",), **settings) -> bool:
    values = {"cohort": "tcga-pairs"} if parameters is None else parameters
    page = Page(section("data"), values, profile, list(keys), **settings)
    return execute_all([page], project / "executed") == [True]


def test_an_unchanged_notebook_is_used_again_and_a_changed_one_is_run(project, papermill, monkeypatch):
    write(project)
    assert execute(project) and not execute(project) and not execute(project, keys=["k1"])
    for change in ({"parameters": {"cohort": "own"}}, {"profile": "smoke"}, {"keys": ["k1", "k2"]}):
        assert execute(project, **change) and not execute(project, **change), change
    execute(project)
    write(project, cells=[*PAGE, ("", "print(1)")])
    assert execute(project) and not execute(project)
    write_table(table([{"experiment": "data", "value": 1.0}]), project / "results" / "data-one.parquet")
    assert execute(project) and not execute(project), "the record changed, the page shows it"
    (project / "executed" / "01_data.ipynb").write_text("{ torn")
    assert execute(project) and not execute(project)
    monkeypatch.setattr(provenance, "commit", lambda: ("1234567890", False))
    assert execute(project) and not execute(project)
    assert len(papermill) == 1 + 3 + 1 + 1 + 1 + 1 + 1


def test_a_page_of_the_record_shows_what_a_run_found_once(project, papermill):
    write(project, cells=[*PAGE, ("this-run", "print(1)"), ("this-run", "print(2)"), ("", "print(3)")])
    for from_record, shown in (
        (False, ["print(1)", "print(2)", "print(3)"]),
        (True, ["This page was made from the record: what the run found stands above.", "print(3)"]),
    ):
        execute(project, profile="record" if from_record else "demo", from_record=from_record)
        book = nbformat.read(project / "executed" / "01_data.ipynb", 4)
        assert [cell.source for cell in book.cells][len(PAGE) :] == shown


# zmq and the client's event loop leave sockets for the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::pytest.PytestWarning")
class TestWithAKernel:
    def test_parameters_reach_the_notebook_and_no_path_stays_in_it(self, project):
        write(project)
        assert execute(project, {"cohort": "own"}, profile="smoke")
        book = nbformat.read(project / "executed" / "01_data.ipynb", 4)
        printed = [output.text for cell in book.cells for output in cell.get("outputs", [])]
        assert printed == ["own smoke 0\n"]
        assert "papermill" not in json.dumps(book) and str(project) not in json.dumps(book)
        injected = next(cell for cell in book.cells if "injected-parameters" in cell.metadata["tags"])
        assert "hide-input" in injected.metadata["tags"]
        assert not execute(project, {"cohort": "own"}, profile="smoke")

    def test_notebooks_share_a_kernel_but_no_names_and_no_settings(self, project):
        named = [*PAGE, ("", "print(os.getpid(), os.getcwd(), 'left' in globals(), os.environ['GEXLIB_FROM_RECORD'])")]
        write(project, "01_data", [*named, ("", "left = 1")])
        write(project, "03_comparison", named)
        pages = [
            Page(section("data"), {"cohort": "own"}, "smoke", []),
            Page(section("comparison"), {}, "record", [], from_record=True),
        ]
        assert execute_all(pages, project / "executed") == [True, True]
        first, second = (
            "".join(
                output.text
                for cell in nbformat.read(project / "executed" / f"{page.chosen.notebook}.ipynb", 4).cells
                for output in cell.get("outputs", [])
            ).split()
            for page in pages
        )
        process, folder = first[3:5]
        assert first == ["own", "smoke", "0", process, str(project), "False"]
        assert second == ["none", "record", "0", process, str(project), "False", "1"]
        assert folder == str(project) and not psutil.pid_exists(int(process))
        assert os.environ.get(notebook.FROM_RECORD) is None

    def test_where_one_notebook_fails_no_other_is_begun(self, project):
        write(project, "01_data", [*PAGE, ("", "1 / 0")])
        for name in ("03_comparison", "05_pan_to_specific"):
            write(project, name)
        pages = [Page(section(name), {}, "smoke", []) for name in ("data", "comparison", "pan-to-specific")]
        with pytest.raises(InputError, match="01_data.ipynb failed: ZeroDivisionError"):
            execute_all(pages, project / "executed")
        assert [p.name for p in (project / "executed").iterdir()] == ["01_data.failed.ipynb"]

    def test_a_failing_notebook_is_one_sentence_and_its_copy_is_kept(self, project, capsys, monkeypatch):
        write(project, cells=[*PAGE, ("", "raise ValueError('no such gene')")])
        monkeypatch.setattr(cli, "app", lambda: execute(project))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr().err
        assert ended.value.code == 2 and said.count("\n") == 1
        assert "01_data.ipynb failed: ValueError: no such gene; the traceback is in " in said
        assert [p.name for p in (project / "executed").iterdir()] == ["01_data.failed.ipynb"]
        assert notebook.FROM_RECORD not in os.environ

    def test_a_kernel_that_dies_is_one_sentence(self, project):
        write(project, cells=[*PAGE, ("", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")])
        with pytest.raises(InputError, match="01_data.ipynb failed: its kernel died"):
            execute(project)
        assert not (project / "executed" / "01_data.ipynb").exists()


def test_every_section_has_its_notebook():
    for name in ("data", "comparison", "pan-to-specific"):
        assert notebook_path(section(name)).is_file()
