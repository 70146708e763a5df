"""Buttons that open a page elsewhere: where they lead, and where there are none."""

import importlib.util
import subprocess
from types import SimpleNamespace

import pytest
import yaml

from gexlib.files import project_root

EXTENSION = project_root() / "book" / "_extensions" / "buttons.py"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def buttons():
    spec = importlib.util.spec_from_file_location("buttons", EXTENSION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def added(buttons, page, repository=("someone/a-clone", COMMIT), pdf=False) -> dict[str, str]:
    """Addresses of the buttons that a page gets."""
    downloads = {"label": "download-buttons", "buttons": []}
    context = {"header_buttons": [downloads], "pathto": lambda name, _: f"../{name}"}
    config = SimpleNamespace(book_pdf=pdf, book_repository=[*repository])
    buttons.add_buttons(SimpleNamespace(config=config), page, "page.html", context, None)
    return {link["text"]: link["url"] for group in context["header_buttons"] for link in group["buttons"]}


def test_a_chapter_opens_its_notebook_at_the_commit_of_the_page(buttons):
    found = added(buttons, "book/executed/02_sensitivity")
    assert found == {
        "Binder": f"https://mybinder.org/v2/gh/someone/a-clone/{COMMIT}?urlpath=lab/tree/notebooks/02_sensitivity.ipynb",
        "Colab": f"https://colab.research.google.com/github/someone/a-clone/blob/{COMMIT}/notebooks/02_sensitivity.ipynb",
    }


def test_every_chapter_has_the_notebook_that_its_buttons_open(buttons):
    contents = yaml.safe_load((project_root() / "_toc.yml").read_text())
    chapters = [entry["file"] for part in contents["parts"] for entry in part["chapters"]]
    opened = [page for page in chapters if "Binder" in added(buttons, page)]
    assert len(opened) > 8
    for page in opened:
        assert (project_root() / "notebooks" / f"{page.split('/')[-1]}.ipynb").is_file()


def test_there_is_no_button_that_leads_nowhere(buttons):
    assert added(buttons, "book/method") == added(buttons, "book/executed/02_sensitivity", repository=()) == {}
    assert added(buttons, "book/method", pdf=True) == {"Whole book .pdf": "../book.pdf"}


@pytest.mark.parametrize(
    "origin, known",
    [
        ("https://github.com/someone/a-clone.git", True),
        ("https://github.com/someone/a-clone", True),
        ("git@github.com:someone/a-clone.git", True),
        ("https://example.org/someone/a-clone.git", False),
        ("../a-clone", False),
        (None, False),
    ],
)
def test_the_repository_is_the_clones_origin(buttons, origin, known, tmp_path):
    def git(*words) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    assert buttons.repository(tmp_path / "nowhere") == []
    git("init")
    git("commit", "--allow-empty", "-m", "one")
    if origin:
        git("remote", "add", "origin", origin)
    commit = git("rev-parse", "HEAD").strip()
    assert buttons.repository(tmp_path) == (["someone/a-clone", commit] if known else [])
