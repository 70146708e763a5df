"""The built book on small and large screens, light and dark."""

import pytest
from test_book import ARGUMENTS, OUTSIDE, PAGES, browser_path, html, site, violations  # noqa: F401 (two fixtures)

pytestmark = pytest.mark.stress

SIZES = {390: 844, 1280: 900, 1920: 1080}
#: The theme in use, and what is written too faintly to be told from the page (WCAG AA: 4.5 to 1).
LOOK = """() => {
  const numbers = colour => { const [r, g, b, a] = colour.match(/[\\d.]+/g).map(Number); return [r, g, b, a ?? 1]; };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => a * c + (1 - a) * below[i]);
  const ground = e => e ? over(numbers(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255];
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const contrast = e => { const below = ground(e), own = over(numbers(getComputedStyle(e).color), below);
    const [dim, bright] = [light(own), light(below)].sort((a, b) => a - b); return (bright + 0.05) / (dim + 0.05); };
  const words = [...document.querySelectorAll('article :is(h1, h2, h3, p, a, td, th, li, .provenance, .simulated)')]
    .filter(e => e.innerText && e.getBoundingClientRect().width && !e.matches('.headerlink'));
  return { theme: document.documentElement.dataset.theme, page: light(ground(document.querySelector('article'))),
    faint: words.filter(e => contrast(e) < 4.5).map(
      e => `contrast ${contrast(e).toFixed(1)} ${e.outerHTML.slice(0, 140)}`) };
}"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = browser_path(playwright.chromium.executable_path)
        if path is None:
            pytest.skip("needs a browser: install chromium or google-chrome")
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_pages_fit_and_load_clean(browser, site, width, scheme, record_property):  # noqa: F811 (the fixtures above)
    """Pages of the built book on a telephone and two screens, light and dark: nothing sticks out, no console error, no
    text that fades into its ground, nothing that axe finds against WCAG 2, A and AA.
    """
    context = browser.new_context(viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme)
    # as the page's own button does
    context.add_init_script(f"for (const name of ['mode', 'theme']) localStorage.setItem(name, '{scheme}')")
    context.route(lambda url: not url.startswith((site, "data:", "blob:")), lambda route: route.abort())
    problems = []
    for page in PAGES:
        tab = context.new_page()
        complaints = []
        tab.on("console", lambda message, to=complaints: to.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error, to=complaints: to.append(str(error)))
        assert tab.goto(f"{site}/{page}.html", wait_until="load").status == 200
        tab.evaluate("async () => { if (window.MathJax && MathJax.startup) await MathJax.startup.promise; }")
        tab.wait_for_timeout(200)
        look = tab.evaluate(LOOK)
        assert look["theme"] == scheme and (look["page"] < 0.2) == (scheme == "dark")
        problems += [f"{page}: {what}" for what in (*complaints, *tab.evaluate(OUTSIDE), *look["faint"])]
        if width == 1280 and (found := violations(tab)):
            problems.append(f"{page}: {found}")
        tab.close()
    context.close()
    record_property("pages", len(PAGES))
    assert not problems, "\n".join(problems)
