"""Buttons on top of pages: the notebook on Binder and Colab, the book as a PDF; each only where it leads somewhere."""

import os
import re
import subprocess
from pathlib import Path

from sphinx.application import Sphinx

CHAPTER = "book/executed/"  # pages that were notebooks; their sources are in notebooks/


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    # values of the configuration, so that a page is written again where they change
    app.add_config_value("book_pdf", bool(os.environ.get("GEXLIB_PDF")), "html")  # `gexlib book --pdf` prints one
    app.add_config_value("book_repository", repository(Path.cwd()), "html")
    app.connect("html-page-context", add_buttons, priority=502)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_buttons(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Add the buttons to a page's header. Those of Binder and Colab open the commit that the page was built from."""
    if app.config.book_pdf:
        link = {"type": "link", "text": "Whole book .pdf", "tooltip": "Download the book", "icon": "fas fa-book"}
        for group in context["header_buttons"]:
            if group["label"] == "download-buttons":
                group["buttons"].append({**link, "url": context["pathto"]("book.pdf", 1)})
    if pagename.startswith(CHAPTER) and app.config.book_repository:
        owner, commit = app.config.book_repository
        path = f"notebooks/{pagename.removeprefix(CHAPTER)}.ipynb"
        links = {
            "Binder": f"https://mybinder.org/v2/gh/{owner}/{commit}?urlpath=lab/tree/{path}",
            "Colab": f"https://colab.research.google.com/github/{owner}/blob/{commit}/{path}",
        }
        context["header_buttons"].append(
            {
                "type": "group",
                "tooltip": "Run this page elsewhere",
                "icon": "fas fa-rocket",
                "label": "launch-buttons",
                "buttons": [
                    {"type": "link", "text": name, "url": url, "tooltip": f"Open on {name}", "icon": "fas fa-play"}
                    for name, url in links.items()
                ],
            }
        )


def repository(folder: Path) -> list[str]:
    """Owner/name on GitHub of the repository a folder belongs to, and the commit; empty where it is from elsewhere."""
    asked = (["git", "remote", "get-url", "origin"], ["git", "rev-parse", "HEAD"])
    try:
        origin, commit = (
            subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            for command in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    known = re.fullmatch(r"(?:https://github\.com/|git@github\.com:)([\w.-]+/[\w.-]+?)(?:\.git)?/?", origin)
    return [known[1], commit] if known else []
