"""Posts in the theme's two configurations, built by Jekyll and typeset by MathJax in Chromium."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_markdown_cell, new_notebook

import nbconvert_al_folio as blog
from nbconvert_al_folio.post import default_slug
from nbconvert_al_folio.tex import _mathjax_names
from tests.blog import browser, foreign, gallery
from tests.blog.test_kramdown import as_written, some_documents

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
CASES = {case["id"]: case for case in json.loads((HERE / "cases.json").read_text("utf-8"))}
NOTEBOOKS = sorted(
    path
    for folder in ("", "ko")
    for path in (HERE.parents[1] / "notebooks" / folder).glob("*.ipynb")
)
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060"
    "0000000500010d0a2db40000000049454e44ae426082"
)


def plain(tex: str) -> str:
    """TeX up to what the post may say otherwise: bars, white space, display style, comments."""
    tex = re.sub(r"\\vert(?![A-Za-z]) ?", "|", re.sub(r"\\Vert(?![A-Za-z]) ?", r"\\|", tex))
    return re.sub(r"\s+", " ", tex.replace(r"\displaystyle ", "")).strip()


class Theme:
    """One configuration: the served site and a browser to look at it."""

    def __init__(self, address: str, tab: browser.Browser, refused: dict) -> None:
        self.address, self.tab, self.refused = address, tab, refused

    def post(self, path: str) -> dict:
        return self.tab.look(f"{self.address}/blog/{path}/")


def export(site: Path, folder: Path) -> None:
    """Every case, the foreign notebook and this project's own, exported into the site."""
    (folder / "cases").mkdir(parents=True)
    for case in CASES.values():
        meta = {"post": {"title": case["id"], "date": "2026-01-02", "slug": case["id"]}}
        node = new_notebook(cells=[new_markdown_cell(case["md"])], metadata=meta)
        nbformat.write(node, folder / "cases" / f"{case['id']}.ipynb")
    nbformat.write(foreign.notebook(), folder / "foreign.ipynb")
    nbformat.write(gallery.notebook(), folder / "gallery.ipynb")
    mixed = new_notebook(cells=[new_markdown_cell(text) for text, _, _ in some_documents(100)])
    mixed.metadata["post"] = {"title": "mixed", "date": "2026-01-02", "repository": "https://h/r"}
    nbformat.write(mixed, folder / "mixed.ipynb")
    (site / "x.png").write_bytes(PIXEL)
    blog.publish([*(folder / "cases").glob("*.ipynb"), *folder.glob("*.ipynb")], site)
    (site / "oracle").mkdir()
    for path in NOTEBOOKS:
        (site / "oracle" / f"{path.parent.name}-{path.stem}.html").write_text(oracle(path), "utf-8")
    cells, _ = blog.HtmlExporter().from_filename(str(folder / "foreign.ipynb"))
    (site / "oracle" / "foreign.html").write_text(page(cells), "utf-8")


@cache
def oracle(path: Path) -> str:
    """The text of a notebook as nbconvert shows it, delimiters as Jupyter gives them to MathJax."""
    node = nbformat.read(path, as_version=4)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.source = ""  # has no formulas, and takes nbconvert most of its time
            texts = ("text/markdown", "text/latex", "text/html")
            cell.outputs = [o for o in cell.outputs if any(t in o.get("data", {}) for t in texts)]
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(node)
    return page(body)


def page(body: str) -> str:
    """A page of these cells; MathJax reads what it reads in Jupyter."""
    inline = r"[['$', '$'], ['\\(', '\\)']]"
    return (
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width">'
        "<style>img { max-width: 100% } div, pre { overflow-x: auto }"
        " mjx-container { overflow-x: auto; min-width: 0 !important }</style>"
        f"<script>window.MathJax = {{ tex: {{ tags: 'ams', inlineMath: {inline} }} }};</script>"
        f'<script defer src="{LOCAL}"></script><article>{body}</article>'
    )


LOCAL = "/mathjax/es5/tex-mml-chtml.js"


@pytest.fixture(scope="module", params=browser.THEMES)
def theme(request, tmp_path_factory):
    browser.need("jekyll", "chromium", "npm")
    folder = tmp_path_factory.mktemp(request.param)
    site = browser.new_site(folder / "site", request.param)
    export(site, folder)
    refused: dict[str, str] = {}
    while True:  # one notebook that is refused fails its own test alone
        left = [path for path in NOTEBOOKS if path.name not in refused]
        try:
            blog.publish(left, site, date="2026-01-04", repository="https://example.org/a/b")
            break
        except blog.Refused as error:
            refused[re.match(r"[^,:]+", str(error))[0]] = str(error)
    with browser.served(browser.build(site)) as address, browser.browser() as tab:
        yield Theme(address, tab, refused)


def faults(seen: dict, known: str = "") -> dict:
    """Everything on a page that should not be there; `known` is text that looks like TeX."""
    text = seen["text"]
    for piece in known.split("\0"):
        text = text.replace(piece, "") if piece else text
    found = {
        "errors": seen["errors"],
        "undefined macros": seen["undefined_macros"],
        "unresolved references": seen["unresolved"],
        "raw TeX": re.findall(r"\\[A-Za-z(\[].*|\$\$.*|\?\?\?", text),
        "console": seen["console"],
        "violations": seen["violations"],
        "images": [image for image in seen["images"] if not image[1] or not image[2].strip()],
        "dead links": seen["dead"],
        "width": [seen["width"]] if seen["width"] > 390 else [],
        "h1": [level for level in seen["headings"] if level < 2],
    }
    return {name: what for name, what in found.items() if what}


def formulas(seen: dict) -> list[str]:
    return [f"{kind}:{plain(tex)}" for kind, tex in seen["formulas"]]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(theme, case):
    seen = theme.post(f"2026/{case['id']}")
    comments = [re.sub(r"%[^\n]*\n", "\n", math[2:]) for math in case["math"]]
    expected = [f"{m[:2]}{plain(c)}" for m, c in zip(case["math"], comments, strict=True)]
    assert formulas(seen) == expected
    for piece in case["has"]:
        assert piece in seen["html"] or piece in seen["content"]
    for piece in case["hasnot"]:
        assert piece not in seen["html"]
    assert faults(seen, "\0".join(case["has"])) == {}


def test_foreign_notebook(theme):
    seen = theme.post("2026/foreign")
    assert formulas(seen) == [f"{kind}:{plain(tex)}" for kind, tex in foreign.FORMULAS]
    assert faults(seen) == {}
    assert seen["content"].count("{{ 3 }} | *3*") == 1
    assert "{% for x in y %}{{ x }}{% endfor %}" in seen["content"]
    assert "warning: 100%" not in seen["content"] and "100%" in seen["content"]
    assert "값은 $5이고 $10이다. 템플릿 {{ page.title }}와 {% raw %}." in seen["content"]
    alts = [alt for _, _, alt in seen["images"]]
    assert alts.count('A parabola, "growing" <fast> 100%} {{ x }}') == 3
    assert {"an attached plot", "작은 그림"} < set(alts)
    assert [level for level in seen["headings"]] == [2, 2]
    assert "남의 노트북" in seen["text"]


def test_documents_that_mix_everything(theme):
    seen = theme.post("2026/mixed")
    expected = [formula for _, _, formulas in some_documents(100) for formula in formulas]
    assert as_written(seen["formulas"]) == as_written(expected)
    assert len(expected) > 100
    assert faults(seen) == {}


def test_cells_as_html(theme):
    seen = theme.tab.look(f"{theme.address}/oracle/foreign.html")
    assert formulas(seen)[-len(foreign.FORMULAS) :] == [
        f"{kind}:{plain(tex)}" for kind, tex in foreign.FORMULAS
    ]
    assert faults(seen) == {}
    assert all(src.startswith("data:image/") for src, _, _ in seen["images"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[f"{p.parent.name}-{p.stem}" for p in NOTEBOOKS])
def test_own_notebook(theme, path):
    """The post shows the formulas that Jupyter shows, found there by nbconvert and MathJax."""
    assert theme.refused.get(path.name) is None
    node = nbformat.read(path, as_version=4)
    lang = node.metadata.get("post", {}).get("lang", "en")
    seen = theme.post(f"2026/{default_slug(path.stem, lang)}")
    jupyter = theme.tab.look(f"{theme.address}/oracle/{path.parent.name}-{path.stem}.html")
    assert len(seen["formulas"]) > 20
    assert formulas(seen) == formulas(jupyter)
    assert faults(seen) == {}


def test_gallery(theme):
    """Formulas keep their kind wherever they stand, notes reach across cells, nothing is wide."""
    seen = theme.post("2026/gallery")
    found = faults(seen)
    # the script of plotly is elsewhere, and no test fetches it
    assert set(found) <= {"console"} and all("plotly" in t or "ERR" in t for t in found["console"])
    kinds = {tex: kind for kind, tex in seen["formulas"]}
    inline = [tex for tex in kinds if tex.startswith("e_")]
    assert len(inline) == len(gallery.ELEMENTS)
    names = [*inline, *(f"n_{i}" for i in (2, 3, 4, 5)), "n_1 > 0", "m=5", "c_1", "t_1"]
    assert [kinds.get(name) for name in names] == ["i"] * len(names)
    assert "Between $1M and $2M, or $5-$10: set " in seen["content"]
    assert "epoch" in seen["content"] and "출력 보기(200줄)" in seen["content"]


def test_a_small_screen_shows_whole_words_and_a_large_one_no_blurred_picture(theme):
    page = theme.tab.page
    theme.tab.look(f"{theme.address}/blog/2026/gallery/", width=390)
    lines = "node => node.getClientRects().length"
    assert page.locator("td code").first.evaluate(lines) == 1
    wide = page.locator("mjx-container.wide").all()
    assert len(wide) == 2 and all(w.evaluate("n => n.scrollWidth > n.clientWidth") for w in wide)
    theme.tab.look(f"{theme.address}/blog/2026/gallery/", width=1100)
    assert page.locator("mjx-container.wide").count() == 0
    small = page.get_by_alt_text("a small")
    assert small.evaluate("n => n.clientWidth - 16 == n.naturalWidth")


def test_a_style_sheet_of_an_output_stays_in_it(theme):
    theme.tab.look(f"{theme.address}/blog/2026/gallery/")
    colour = "node => getComputedStyle(node).color"
    red = "rgb(255, 0, 0)"
    assert theme.tab.page.locator("#own").evaluate(colour) == red
    assert theme.tab.page.locator("#markdown-content h2").first.evaluate(colour) != red
    assert theme.tab.page.locator("#markdown-content > p").first.evaluate(colour) != red


def test_a_pair_of_figures_follows_the_theme(theme):
    for mode, shown, other in (("", "light", "dark"), ("?dark", "dark", "light")):
        theme.tab.look(f"{theme.address}/blog/2026/gallery/{mode}")
        assert theme.tab.page.locator(f"img.only-{shown}").is_visible()
        assert not theme.tab.page.locator(f"img.only-{other}").is_visible()
        assert theme.tab.page.locator("figure figcaption").first.is_visible()


def test_figures_stand_on_white_in_light_and_dark(theme):
    """One version of a figure serves both modes: its ground is white, whatever the page's is."""
    for mode, page in (("", "rgb(255, 255, 255)"), ("?dark", "rgb(28, 28, 29)")):
        theme.tab.look(f"{theme.address}/blog/2026/foreign/{mode}", width=900)
        ground = "node => getComputedStyle(node).backgroundColor"
        assert theme.tab.page.eval_on_selector("body", ground) == page
        for image in theme.tab.page.query_selector_all("figure img"):
            assert image.evaluate(ground) == "rgb(255, 255, 255)"


def test_names_are_those_that_mathjax_knows(theme):
    theme.post("2026/01-inline-korean")
    commands, environments = theme.tab.page.evaluate(
        """() => {
          const handlers = MathJax.startup.document.inputJax[0].parseOptions.handlers;
          const names = kinds => kinds.flatMap(kind => [...handlers.get(kind)._configuration]
            .flatMap(entry => entry.item.map ? [...entry.item.map.keys()] : []));
          return [names(['macro', 'delimiter']), names(['environment'])];
        }"""
    )
    known = {name.lstrip("\\") for name in commands}
    assert {name for name in known if name.isascii() and name.isalpha()} == _mathjax_names()[0]
    assert set(environments) == _mathjax_names()[1]
