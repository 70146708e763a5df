"""The built book as one PDF file, printed by Chromium page by page."""

from __future__ import annotations

import shutil
from pathlib import Path

from gexlib.errors import InputError
from gexlib.files import atomic_path

#: What a printed page leaves out: lists at the sides, buttons, the way to the next page.
SCREEN_ONLY = """
.bd-header, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .prev-next-footer, .headerlink, .copybtn,
.downloads, .explorer-form, .explorer-legend, #pst-back-to-top, .skip-link { display: none !important; }
.table-scroll, .explorer-table { overflow: visible !important; max-height: none !important; font-size: 7pt; }
.table-scroll table { width: 100%; } figure, tr { break-inside: avoid; }
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pages_of(toc: Path) -> list[str]:
    """Return the pages of a book in their order, from its ``_toc.yml``."""
    import yaml

    contents = yaml.safe_load(toc.read_text())
    return [contents["root"], *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"])]


def write(html: Path, pages: list[str], out: Path) -> int:
    """Print pages of a built book into one file, with the chapters' titles as its outline; return how many sheets.

    Raises
    ------
    InputError
        playwright, pypdf or a browser is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
        from pypdf import PdfReader, PdfWriter
    except ImportError as error:
        raise InputError(f"a PDF needs {error.name}: pip install 'gexlib[pdf]'.") from None
    whole = PdfWriter()
    with sync_playwright() as playwright:
        found = [*filter(None, map(shutil.which, BROWSERS)), playwright.chromium.executable_path]
        path = next((path for path in found if Path(path).exists()), None)
        if path is None:
            raise InputError("a PDF needs Chromium or Chrome, and none was found: install one.")
        browser = playwright.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox"])
        tab = browser.new_page()
        for page in pages:
            tab.goto((html / f"{page}.html").as_uri(), wait_until="load")
            tab.evaluate("async () => { if (window.MathJax && MathJax.startup) await MathJax.startup.promise; }")
            tab.add_style_tag(content=SCREEN_ONLY)
            with atomic_path(out.with_name(f".{out.name}.page")) as sheet:
                margin = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
                tab.pdf(path=sheet, format="A4", margin=margin, print_background=True)
                first = len(whole.pages)
                whole.append(PdfReader(sheet), import_outline=False)
            out.with_name(f".{out.name}.page").unlink()
            whole.add_outline_item(tab.title().split(" — ")[0], first)
        browser.close()
    with atomic_path(out) as temporary:
        whole.write(temporary)
    return len(whole.pages)
