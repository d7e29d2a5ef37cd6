"""The pages of `make run` in a browser: they fit, are readable for everybody, and lead somewhere.

They are built here from the committed notebooks; `make run` builds the same after executing them.
"""

import re

import pytest
from bs4 import BeautifulSoup

from tests.live.chromium import axe, chromium, need
from tools import pages, pairs

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# all rules once; what a phone or the dark can change, again
RULES = {
    390: [("light", ["scrollable-region-focusable", "target-size"])],
    1200: [("light", TAGS), ("dark", ["color-contrast"])],
}
JUDGE = """rules => axe.run({exclude: ['mjx-container']}, {runOnly: rules, preload: false})"""
NAMES = [source.stem for source in pairs.sources()]
PAGES = [f"{edition}{name}" for edition in ("", "ko/") for name in ("index", *NAMES)]
TYPESET = "window.MathJax?.startup?.promise"
LOST = """() => {
  const width = document.documentElement.clientWidth;
  const beyond = e => e.getBoundingClientRect().right > width + 1;
  return {
    sideways: document.documentElement.scrollWidth - width,
    numbers: [...document.querySelectorAll('.number')].filter(beyond).map(e => e.textContent),
    clipped: [...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth + 1)
      .filter(e => getComputedStyle(e).overflowX === 'hidden' || innerWidth > 390)
      .map(e => e.textContent.slice(0, 60)),
    errors: [...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(e => e.textContent),
  };
}"""
FINE = {"sideways": 0, "numbers": [], "clipped": [], "errors": []}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where make run puts them, so that links to files of the project count as many steps."""
    out = tmp_path_factory.mktemp("checkout") / "build" / "pages"
    pages.copy_assets(out)
    for edition, folder in (("", pairs.FOLDER), ("ko", pairs.FOLDER / "ko")):
        entries = [pages.Entry(name, pairs.load(folder / f"{name}.ipynb")) for name in NAMES]
        lang = edition or "en"
        pages.write(out / edition / "index.html", pages.index(entries, lang))
        for entry in entries:
            text = pages.page(entry.notebook, entry.name, entries)
            pages.write(out / edition / f"{entry.name}.html", text)
    return out


@pytest.fixture(scope="module")
def browser():
    need("chromium", "npm")
    with chromium() as found:
        yield found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_can_be_read_by_everybody(site, browser, name):
    for first, then in ((390, None), (1200, 900)):
        context = browser.new_context(viewport={"width": first, "height": 900})
        page, said = context.new_page(), []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.goto((site / f"{name}.html").as_uri())
        page.evaluate(TYPESET)
        for details in page.locator("details").all():
            details.evaluate("e => { e.open = true; }")
        for width in filter(None, (first, then)):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(LOST) == FINE, f"{name} at {width} px"
        page.evaluate(axe())
        for scheme, rules in RULES[first]:
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate(JUDGE, rules)["violations"]
            assert [(f["id"], [n["target"] for n in f["nodes"]]) for f in found] == [], scheme
        assert said == []
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_leads_somewhere(site, name):
    page = site / f"{name}.html"
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    ids = {element["id"] for element in soup.find_all(id=True)}
    checkout = site.parent.parent
    for link in soup.find_all("a", href=True):
        address, _, anchor = link["href"].partition("#")
        if re.match(r"https?://", address):
            assert re.match(r"https://[\w.-]+\.\w+(/|$)", address), address
        elif not address:
            assert not anchor or anchor in ids, link["href"]
        else:
            target = (page.parent / address).resolve()
            inside = target.relative_to(checkout)
            assert target.exists() or (pairs.FOLDER.parent / inside).exists(), link["href"]
