"""The built book, in a browser that cannot leave the machine."""

import csv
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pypdf
import pytest
import yaml

from gexlib import pdf
from gexlib.baselines import Tuning
from gexlib.experiments import PAGES as OVER
from gexlib.experiments import section
from gexlib.models import MLP
from gexlib.results import record
from gexlib.search import Space
from gexlib.training import Training
from gexlib.transfer import Denoising

ROOT = Path(__file__).resolve().parents[1]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
EXECUTED = [page for page in PAGES if "/executed/" in page]
OVER_THE_RECORD = [page for page in EXECUTED if page.rpartition("/")[2] in {each.notebook for each in OVER.values()}]
RESULTS = [page for page in EXECUTED if page not in OVER_THE_RECORD]
PHONE = {"width": 390, "height": 844}
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

#: What a page is asked: one call, after its scripts have run.
ASK = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const article = document.querySelector('article');
  const all = (selector, of = article) => [...of.querySelectorAll(selector)];
  const banner = document.querySelector('article .simulated');
  const below = all('h2, table, figure, img').filter(e =>
    banner && !(banner.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING));
  return {
    title: all('h1').map(e => e.innerText).join(' '),
    text: article.innerText,
    images: all('img', document).map(e => [e.src, e.getAttribute('alt'), e.naturalWidth]),
    links: all('a[href]', document).map(e => e.href),
    ids: all('[id]', document).map(e => e.id),
    sources: all('script[src], iframe[src], link[rel=stylesheet]', document).map(e => e.src || e.href),
    math: all('.math').length,
    typeset: all('mjx-container').length,
    badMath: all('mjx-merror').map(e => e.innerText),
    provenance: all('.provenance').map(e => e.innerText),
    banner: banner ? banner.innerText : null,
    beforeBanner: below.map(e => e.outerHTML.slice(0, 200)),
    sections: all('section > h2').map(e => e.parentElement).map(
      e => [e.id, getComputedStyle(e).borderLeftWidth]),
  };
}"""

#: Elements of the article that stick out of the screen and cannot be scrolled to.
OUTSIDE = """() => {
  const right = e => e.getBoundingClientRect().right;
  const scrolls = e =>
    ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && right(e) <= innerWidth + 1;
  const held = e => e.tagName !== 'ARTICLE' && (scrolls(e) || held(e.parentElement));
  const hidden = 'mjx-assistive-mml, .headerlink, .tooltip';
  const out = [...document.querySelectorAll('article *')].filter(e =>
    !e.closest(hidden) && e.getBoundingClientRect().width && right(e) > innerWidth + 1
    && !held(e.parentElement));
  const width = document.documentElement.scrollWidth;
  return [...(width > innerWidth ? [`page ${width} px`] : []), ...out.map(e => e.outerHTML.slice(0, 160))];
}"""


@dataclass
class Visit:
    """What was seen on one page."""

    status: int
    facts: dict
    outside: list[str]
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def html(tmp_path_factory):
    """Return the folder of built pages: those GEXLIB_BOOK_HTML names, else the smoke book, built once."""
    built = os.environ.get("GEXLIB_BOOK_HTML")
    if built:
        assert Path(built, "index.html").is_file(), f"GEXLIB_BOOK_HTML={built} holds no index.html"
        return Path(built).absolute()
    out = tmp_path_factory.mktemp("book")
    program = [sys.executable, "-m", "gexlib.cli", "book", "--profile", "smoke", "--jobs", "1", "--out", str(out)]
    # `make test` has a home that book and notebooks share: what both show is computed once
    home = os.environ.get("GEXLIB_TEST_HOME") or os.environ["GEXLIB_HOME"]
    environment = {**os.environ, "GEXLIB_HOME": home}
    ended = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    (index,) = out.rglob("html/index.html")
    return index.parent


@pytest.fixture(scope="session")
def site(html):
    """Serve the pages on the loopback interface; return the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def browser_path(own):
    """Find Chromium or Chrome: Debian's, Google's, a Mac's, or the one playwright has installed."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    found = [path for path in (*map(shutil.which, names), mac, own) if path and Path(path).exists()]
    return found[0] if found else None


@pytest.fixture(scope="session")
def context(site):
    """Open a browser of the size of a screen that cannot leave the machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = browser_path(playwright.chromium.executable_path)
        if path is None:
            pytest.skip("needs a browser: install chromium or google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        # what would leave the machine is noted and stopped
        context.route(lambda url: not url.startswith((site, "data:", "blob:")), lambda route: route.abort())
        yield context
        browser.close()


@pytest.fixture(scope="session")
def visits(context, site):
    """Visit every page once at the size of a screen and of a telephone; return what was seen, by page."""
    return {page: visit(context, site, page) for page in PAGES}


@pytest.fixture
def tab(context):
    """Open a tab for one test."""
    tab = context.new_page()
    yield tab
    tab.close()


def visit(context, site, page):
    """Open one page and ask it."""
    complaints, requests = [], []
    tab = context.new_page()
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "response",
        lambda reply: complaints.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None,
    )
    tab.on("request", lambda request: requests.append(request.url))
    answer = tab.goto(f"{site}/{page}.html", wait_until="load")
    facts = tab.evaluate(ASK)
    tab.set_viewport_size(PHONE)
    tab.wait_for_timeout(300)  # the theme moves its sidebars
    outside = tab.evaluate(OUTSIDE)
    tab.close()
    return Visit(answer.status, facts, outside, complaints, requests)


@pytest.mark.parametrize("page", PAGES)
def test_page_loads(visits, page):
    seen = visits[page]
    assert seen.status == 200
    assert seen.facts["title"].strip("# ")
    assert len(seen.facts["text"]) > 200


@pytest.mark.parametrize("page", PAGES)
def test_no_console_error(visits, page):
    assert not visits[page].complaints


@pytest.mark.parametrize("page", PAGES)
def test_no_request_leaves_the_machine(visits, site, page):
    asked = [*visits[page].requests, *visits[page].facts["sources"]]
    assert asked, "the page's requests were not seen"
    assert not [url for url in asked if not url.startswith((site, "data:", "blob:"))]


@pytest.mark.parametrize("page", PAGES)
def test_images_show_and_have_a_text(visits, page):
    for source, alt, width in visits[page].facts["images"]:
        assert width, f"{source} does not load"
        # without a text of its own an image gets its file's name
        assert alt and not re.search(r"\.(png|svg|jpe?g)$", alt), f"{source} has no alternative text"


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_resolve(visits, site, html, page):
    for link in {link for link in visits[page].facts["links"] if link.startswith(site)}:
        address, fragment = urldefrag(link)
        target = unquote(urlsplit(address).path).strip("/") or "index.html"
        assert (html / target).is_file(), f"{link} leads nowhere"
        known = visits.get(target.removesuffix(".html"))
        if fragment and known:
            assert unquote(fragment) in known.facts["ids"], f"{link} leads to no place on that page"


@pytest.mark.parametrize("page", PAGES)
def test_equations_are_typeset(visits, page):
    facts = visits[page].facts
    assert facts["typeset"] >= facts["math"]
    assert not facts["badMath"]


def test_the_method_has_equations(visits):
    assert visits["book/method"].facts["math"] > 10


@pytest.mark.parametrize("page", PAGES)
def test_fits_a_telephone(visits, page):
    assert not visits[page].outside


@pytest.mark.parametrize("page", RESULTS)
def test_results_say_where_they_come_from(visits, page):
    strips = visits[page].facts["provenance"]
    assert strips
    for strip in strips:
        if not strip.startswith("Nothing is recorded"):
            assert re.search(r"cohort \S.* profile \S.* seed \d.* commit \S", strip, re.DOTALL), strip


@pytest.mark.parametrize("page", RESULTS)
def test_simulated_pages_say_so_at_the_top(visits, page):
    facts = visits[page].facts
    if any("simulated-" in strip for strip in facts["provenance"]):
        assert facts["banner"] and "imulated" in facts["banner"]
        assert not facts["beforeBanner"], "results or headings stand before the banner"


def test_the_smoke_book_is_simulated(visits):
    if os.environ.get("GEXLIB_BOOK_HTML"):
        pytest.skip("looks at the smoke book, another book was given")
    assert all("simulated-" in " ".join(visits[page].facts["provenance"]) for page in RESULTS)


@pytest.mark.parametrize("page", RESULTS)
def test_record_and_this_run_are_set_apart(visits, page):
    edges = dict(visits[page].facts["sections"])
    for block in ("record", "this-run"):
        marked = [edge for name, edge in edges.items() if name.startswith(block)]
        assert marked and "0px" not in marked, f"no section {block} with an edge of its own"


def test_every_published_statement_has_its_verdict_on_the_page(visits):
    text = visits["book/executed/08_verdicts"].facts["text"]
    for line in (ROOT / "book" / "published.csv").read_text().splitlines()[1:]:
        assert line.split(",")[0] in text


def test_search_finds_fine_tune(tab, site):
    tab.goto(f"{site}/search.html?q=fine-tune")
    tab.wait_for_selector("#search-results li a")
    found = " ".join(tab.locator("#search-results li").all_inner_texts())
    assert "glossary" in found.lower() or "Glossary" in found
    assert tab.locator("#search-results li").count() >= 5


def test_the_explorer_draws_what_is_chosen(tab, site, tmp_path):
    """Lists, boxes, table and address go together; the address brings the same view back."""
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(f"{site}/book/executed/10_explore.html")
    tab.wait_for_selector("#explorer[data-drawn] svg")
    boxes = tab.locator("#explorer input[type=checkbox]").evaluate_all("all => all.map(e => [e.value, e.checked])")
    methods = [name for name, _ in boxes if ", " not in name]
    assert len(methods) > 5 and all(shown for name, shown in boxes if name in methods), "methods before their variants"
    ticks = tab.locator("#explorer svg [data-mark='y-axis tick label'] text").all_text_contents()
    assert ticks and all(0 <= float(tick) <= 1 for tick in ticks), "accuracy is a share"
    choose = lambda name, value: tab.select_option(f"#explorer select[name={name}]", value)  # noqa: E731
    choose("section", "pan-to-specific")
    choose("cohort", "tcga-hypoxia")
    choose("subject", "UCEC")
    choose("metric", "roc_auc")
    assert tab.get_attribute("#explorer", "data-drawn") == "pan-to-specific, tcga-hypoxia, UCEC"
    lines = tab.locator("#explorer table tbody tr")
    before, sizes = lines.count(), {row.split("\t")[1] for row in lines.all_inner_texts()}
    assert before > 10 and {"10", "25", "50"} <= sizes
    recorded = record("pan_to_specific", "tcga-hypoxia")[0]
    recorded = recorded[(recorded["target"] == "UCEC") & (recorded["metric"] == "roc_auc") & (recorded["n"] == 25)]
    mean = recorded.loc[recorded["arm"] == "baseline", "value"].mean()
    (line,) = [row.split("\t") for row in lines.all_inner_texts() if row.startswith("Baseline (from scratch)\t25\t")]
    assert float(line[2]) == pytest.approx(mean, abs=1e-3)
    tab.uncheck("#explorer input[value='Baseline (from scratch)']")
    assert lines.count() < before and "Baseline" not in tab.locator("#explorer table").inner_text()
    assert tab.evaluate("document.activeElement.value") == "Baseline (from scratch)"  # the keyboard stays where it was
    kept = tab.url
    tab.goto("about:blank")
    tab.goto(kept)
    tab.wait_for_selector("#explorer[data-drawn]")
    assert tab.input_value("#explorer select[name=subject]") == "UCEC"
    assert not tab.is_checked("#explorer input[value='Baseline (from scratch)']")
    place = tab.locator("#explorer svg [data-mark=dot] path").first.bounding_box()
    tab.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    said = tab.locator("#explorer svg g[aria-label=tip]").text_content()  # drawn anew under the pointer
    assert "Best classical method" in said and "n = 10: " in said
    choose("section", "sensitivity")
    choose("x", "learning_rate")
    assert tab.locator("#explorer svg [data-mark=dot] circle").count() > 100
    with tab.expect_download() as download:
        tab.locator("#explorer + .downloads button").click()
    download.value.save_as(tmp_path / "values.csv")
    assert len((tmp_path / "values.csv").read_text().splitlines()) == 1 + lines.count()
    assert not complaints


def test_figures_and_tables_can_be_downloaded(tab, site, tmp_path):
    tab.goto(f"{site}/book/executed/05_pan_to_specific.html")
    figures = tab.locator("article img[src$='.svg']").count()
    assert tab.locator(".downloads a[download$='.svg']").count() == figures > 0
    with tab.expect_download() as picture:
        tab.locator(".downloads button", has_text="PNG").first.click()
    picture.value.save_as(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    boxes = tab.locator("article .table-scroll")
    assert tab.locator(".downloads button", has_text="CSV").count() == boxes.count() > 0
    last = boxes.last.locator("tr")
    with tab.expect_download() as table:
        tab.locator(".downloads button", has_text="CSV").last.click()
    table.value.save_as(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert len(lines) == last.count() and lines[0] == last.first.locator("th").all_inner_texts()


def test_the_code_of_a_page_is_there_for_who_asks(tab, site):
    tab.goto(f"{site}/book/executed/05_pan_to_specific.html")
    folded = tab.locator("article details.hide.above-input")
    code = folded.filter(has_text="figures.gain_curves").last
    assert folded.count() > 5 and not code.locator("pre").is_visible()
    code.locator("summary").click()
    assert code.locator("pre").is_visible() and "notebook.show(figures.gain_curves(" in code.inner_text()


def test_statements_are_read_one_by_one_on_a_telephone(tab, site, tmp_path):
    """Each value stands under its statement with its column's name; the CSV has its columns all the same."""
    tab.set_viewport_size(PHONE)
    tab.goto(f"{site}/book/executed/08_verdicts.html")
    table = tab.locator("table.statements", has_text="comparison/nn-first").first
    assert not table.locator("thead").is_visible()
    said = table.locator("tbody tr", has_text="comparison/nn-first").locator("td")
    names = said.evaluate_all("all => all.map(e => getComputedStyle(e, '::before').content)")
    assert names[1:4] == ['"article: "', '"verdict: "', '"measured: "'] and names[0] == "none"
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    with tab.expect_download() as file:
        tab.locator(".downloads button", has_text="CSV").last.click()
    file.value.save_as(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text().startswith("statement,article,verdict,measured,found")


def test_pages_are_printed_into_one_file(html, tmp_path):
    if browser_path(None) is None:
        pytest.skip("needs a browser: install chromium or google-chrome")
    pages = ["book/glossary", "book/references"]
    program = "import sys, pathlib; from gexlib import pdf; pdf.write(*map(pathlib.Path, sys.argv[1:2]), sys.argv[3:], "
    program += "pathlib.Path(sys.argv[2]))"  # in a process of its own: this one has a browser open already
    out = tmp_path / "book.pdf"
    subprocess.run([sys.executable, "-c", program, str(html), str(out), *pages], check=True)
    printed = pypdf.PdfReader(out)
    assert [item.title for item in printed.outline] == ["Glossary", "References"]
    assert "denoising autoencoder" in "".join(page.extract_text() for page in printed.pages)
    assert [path.name for path in tmp_path.iterdir()] == ["book.pdf"]


def test_the_printed_book_has_the_pages_of_the_contents():
    assert pdf.pages_of(ROOT / "_toc.yml") == PAGES


def violations(tab):
    """What axe finds against WCAG 2, A and AA, as text; "" if nothing."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab, options={"runOnly": ["wcag2a", "wcag2aa"]})
    return found.generate_report() if found.response["violations"] else ""


@pytest.mark.parametrize(("theme", "page"), [("light", "method"), ("dark", "executed/10_explore")])
def test_pages_are_accessible(context, site, theme, page):
    """A page of text and one of controls; `make stress` asks all of them, light and dark."""
    tab = context.new_page()
    tab.add_init_script(f"for (const name of ['mode', 'theme']) localStorage.setItem(name, '{theme}')")
    tab.goto(f"{site}/book/{page}.html", wait_until="load")
    assert not violations(tab)
    tab.close()


def test_the_published_table_is_complete(visits):
    lines = (ROOT / "book" / "published.csv").read_text().splitlines()
    text = visits["book/published"].facts["text"]
    for line in lines[1:]:
        assert line.split(",")[0] in text


def stated(name):
    """Read a table of settings of the method chapter: value by setting."""
    table = (ROOT / "book" / "method.md").read_text().partition(f":name: {name}\n")[2].partition(":::")[0]
    return dict(re.findall(r"^\* - `(\w+)`\n  - (.+)$", table, re.MULTILINE))


def test_method_states_the_settings_in_use():
    """The chapter's table of settings is that of the dataclasses."""
    hidden = MLP.__init__.__defaults__[0]
    tuning = {name: getattr(Tuning(), name) for name in ("genes", "inner_folds", "trees", "rounds")}
    used = {"hidden": hidden, **vars(Training()), **tuning}
    written = {k: ", ".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in used.items()}
    assert stated("table-settings") == written


def test_method_states_the_autoencoders_settings_and_the_space_of_the_random_search():
    assert stated("table-denoising") == {name: str(value) for name, value in vars(Denoising()).items()}
    ranges = ("layers", "neurons", "dropout", "learning_rate", "batch_size")
    assert stated("table-space") == {
        name: f"{values[0]} to {values[1]}" if name in ranges else ", ".join(map(str, values))
        for name, values in vars(Space()).items()
    }


def test_every_figure_and_table_has_its_counterpart_on_the_cohorts_recorded():
    """The page lists all, and what it calls recorded is in results/."""
    table = (ROOT / "book" / "counterparts.md").read_text().partition(":header-rows: 1")[2].partition(":::")[0]
    rows = [[cell.strip() for cell in row.split("\n  -")] for row in table.split("* - ")[2:]]
    items = [f"Fig. {i}" for i in range(1, 12)] + [f"Table {i}" for i in range(1, 6)] + ["Supplement"]
    assert sorted(row[0] for row in rows) == sorted(items)
    for item, _, here, cohorts, lacking in rows:
        named = set(re.findall(r"`([^`]+)`", cohorts))
        pages = re.findall(r"executed/(\w+)\.ipynb", here)
        recorded = {cohort for page in pages for cohort in record(section(page).experiment)[0]["cohort"].unique()}
        assert pages and named <= recorded, item
        assert named or lacking or "code" in cohorts, f"{item}: says neither on what it was computed nor what lacks"


def test_no_result_is_typed_into_prose():
    """Measured numbers come from notebooks, the article's from published.csv."""
    for path in sorted((ROOT / "book").glob("*.md")):
        typed = re.findall(r"\d+\.\d+ ?(?:%|percent|points)", path.read_text())
        assert not typed, f"{path.name}: {typed}"
