"""The pages of `make run` in a browser: they fit, are readable for everybody, and lead somewhere.

They are built here from the committed notebooks; `make run` builds the same after executing them.
"""

import re

import pytest
from bs4 import BeautifulSoup

from tests.live.chromium import axe, chromium, need
from tools import pages, pairs

pytestmark = pytest.mark.slow

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
JUDGE = """contrast => axe.run({exclude: ['mjx-container']}, {
  runOnly: TAGS, preload: false, rules: {'color-contrast': {enabled: contrast}}})""".replace(
    "TAGS", str(TAGS)
)
NAMES = [source.stem for source in pairs.sources()]
PAGES = [f"{edition}{name}" for edition in ("", "ko/") for name in ("index", *NAMES)]
TRANSLATED = [f"ko/{name}" for name in NAMES[1:]]  # axe sees the same elements in the originals
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
    context = browser.new_context(viewport={"width": 390, "height": 900})
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((site / f"{name}.html").as_uri())
    page.evaluate(TYPESET)
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    page.evaluate(axe())
    for width in (390, 900, 1200):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(LOST) == FINE, f"{name} at {width} px"
        if width == 390 and name not in TRANSLATED:
            assert faults(page) == []
    if name.endswith(("index", "00_normalizing_flows")):  # the colours are the same on all pages
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert faults(page, contrast=True) == [], scheme
    assert said == []
    context.close()


def faults(page, contrast=False):
    """What axe finds, by rule and place."""
    found = page.evaluate(JUDGE, contrast)["violations"]
    return [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found]


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
