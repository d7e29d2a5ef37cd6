"""What outputs become: figures with captions, folds, drawings, text; and what is left out."""

from __future__ import annotations

import base64
import re

import pytest
from nbformat.v4 import new_markdown_cell, new_raw_cell
from traitlets.config import Config

import nbconvert_al_folio as blog
from nbconvert_al_folio import interactive
from tests.blog import foreign
from tests.blog.making import body, export, html_of, printed, ran, write

PNG = foreign.picture()
OTHER = foreign.picture(dpi=60)
PNGS = {"image/png": PNG}
WIDGET = "application/vnd.jupyter.widget-view+json"
DARK = "application/vnd.nflib-min.dark+png"
CHART = {"mark": "bar", "data": {"values": [{"a": 1}]}, "title": "Bars"}
PLOT = {"data": [{"y": [1, 2]}], "layout": {"title": {"text": "Two <b>points</b>"}}}


# --- figures ------------------------------------------------------------------------------------


def test_alt_and_caption_of_a_cell_belong_to_its_figures(tmp_path):
    cell = ran("f", PNGS, cell={"alt": "a plot", "caption": "Mass $|J|$, *kept*."})
    text = export(write(tmp_path, cell))
    assert 'alt="a plot" caption="<b>Figure 1.</b> Mass \\(|J|\\), <em>kept</em>."' in text


def test_the_outputs_own_words_come_first(tmp_path):
    cell = ran("f", PNGS, cell={"alt": "cell", "caption": "cell"}, alt="output", caption="output")
    assert 'alt="output" caption="<b>Figure 1.</b> output"' in export(write(tmp_path, cell))


def test_captions_are_numbered_in_the_posts_language_through_all_cells(tmp_path):
    (tmp_path / "p.png").write_bytes(base64.b64decode(PNG))
    cells = [
        ran("f", PNGS, cell={"alt": "a", "caption": "one"}),
        ran("f", PNGS, cell={"alt": "a"}),
        '![a](p.png "two $x_1$")',
        ran("f", PNGS, cell={"alt": "a", "caption": "Figure 9: an author's own"}),
        ran("f", PNGS, cell={"alt": "a", "caption": "three"}),
    ]
    text = export(write(tmp_path, *cells))
    assert re.findall(r'caption="([^"]*)"', text) == [
        "<b>Figure 1.</b> one",
        r"<b>Figure 2.</b> two \(x_1\)",
        "Figure 9: an author's own",
        "<b>Figure 3.</b> three",
    ]
    korean = export(write(tmp_path, *cells, lang="ko", name="02_ko.ipynb"))
    assert "<b>그림 3.</b> three" in korean
    assert "Figure 1" not in export(write(tmp_path, *cells), number_figures=False)


def test_a_caption_that_a_cell_displays_too_is_printed_once(tmp_path):
    cell = ran("f", PNGS, {"text/markdown": "*Figure. solo*"}, cell={"alt": "a", "caption": "solo"})
    assert export(write(tmp_path, cell)).count("solo") == 1


def test_a_figure_has_its_natural_width_or_the_displayed_one(tmp_path):
    cells = [
        ran("f", PNGS, cell={"alt": "a"}),
        ran("f", PNGS, alt="a", **{"image/png": {"width": 200}}),
    ]
    assert re.findall(r' width="(\d+)"', export(write(tmp_path, *cells))) == ["416", "216"]


def test_a_dark_figure_stands_beside_the_light_one(tmp_path):
    note = {"alt": "a", "caption": "c {{ x }}"}
    path = write(tmp_path, ran("f", {**PNGS, DARK: OTHER}, cell=note))
    text = export(path)
    figure = re.search(r"<figure>(.*?)</figure>", text, re.S)[1]
    classes = re.findall(r'path="([^"]*)" class="([^"]*)"', figure)
    assert [re.findall(r"only-\w+|bg-white", c) for _, c in classes] == [
        ["bg-white", "only-light"],
        ["only-dark"],
    ]
    assert len({p for p, _ in classes}) == 2
    assert figure.count('alt="a"') == 2 and figure.count("<figcaption") == 1
    assert '<b>Figure 1.</b> c {{ "{" }}{ x }}</figcaption>' in figure
    page = html_of(path)
    assert page.count('class="only-light"') == page.count('class="only-dark"') == 1


# --- folds and what is left out -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "summary", "inside"),
    [
        ("hide-input", "Show the code", ["code()"]),
        ("hide-output", "Show the output", ["shown"]),
        ("hide-cell", "Show the code and its output", ["code()", "shown"]),
    ],
)
def test_tags_fold(tmp_path, tag, summary, inside):
    path = write(tmp_path, ran("code()", {"text/plain": "shown"}, tags=[tag]))
    for text in (body(export(path)), html_of(path)):
        fold = re.search(r"<details>\s*<summary>(.*?)</summary>(.*)</details>", text, re.S)
        assert fold[1] == summary
        rest = text.replace(fold[0], "")
        for piece in ("code", "shown"):
            expected = any(piece in part for part in inside)
            assert (piece in fold[2]) is expected and (piece in rest) is not expected
    assert "<summary>코드 보기</summary>" in export(
        write(tmp_path, ran("x", tags=["hide-input"]), lang="ko")
    )


def test_a_fold_holds_figures_and_text_cells_fold_too(tmp_path):
    text = ran("f", PNGS, cell={"alt": "a"}, tags=["hide-cell"])
    note = new_markdown_cell("## Long\n\nwith $x|y$", metadata={"tags": ["hide-cell"]})
    path = write(tmp_path, text, note)
    folds = re.findall(r"(?s)<details>.*?</details>", export(path))
    assert "include figure.liquid" in folds[0] and "Show the text" in folds[1]
    assert r"$$x\vert y$$" in folds[1]


def test_what_jupyterlab_hides_is_folded(tmp_path):
    cell = ran("code()", {"text/plain": "o"}, cell={"jupyter": {"source_hidden": True}})
    assert "<summary>Show the code</summary>" in export(write(tmp_path, cell))


def test_all_code_folds_when_asked(tmp_path):
    path = write(tmp_path, ran("a"), ran("b"))
    assert export(path, fold_code=True).count("Show the code") == 2


def test_tags_of_ones_own_configuration_remove(tmp_path):
    path = write(tmp_path, ran("gone", tags=["secret"]), ran("$\\nope$"), "see $\\nope$")
    config = Config(TagRemovePreprocessor={"remove_cell_tags": {"secret"}})
    with pytest.raises(blog.Refused, match=r"cell 3 \(c002\)"):
        blog.publish([path], tmp_path / "site", config=config)
    path = write(tmp_path, ran("gone", tags=["secret"]), ran("stays"))
    assert "gone" not in blog.publish([path], tmp_path / "site", config=config)[0].read_text(
        encoding="utf-8"
    )


def test_long_prints_fold_and_say_how_long_they_are(tmp_path):
    text = export(write(tmp_path, printed("p", stdout="line\n" * 400)))
    assert "<summary>Show the output (400 lines)</summary>" in text
    assert "<details>" not in export(write(tmp_path, printed("p", stdout="line\n" * 40)))
    assert "<details>" in export(write(tmp_path, printed("p", stdout="line\n" * 40)), fold_lines=9)


def test_prints_and_warnings_stand_apart(tmp_path):
    text = body(export(write(tmp_path, printed("p", stdout="print\n", stderr="warning\n"))))
    assert text.endswith(
        "```text\nprint\n```\n{: .output}\n\n```text\nwarning\n```\n{: .output .stderr}"
    )


def test_full_progress_bars_go(tmp_path):
    bar = "\r 50%|#####     | 5/10 [00:01<00:01]\r100%|##########| 10/10 [00:02<00:00]\n"
    text = body(export(write(tmp_path, printed("p", stdout="kept\n", stderr=bar))))
    assert text.endswith("```text\nkept\n```\n{: .output}")
    half = "  50%|#####     | 5/10 [00:01<00:01]\n"
    assert "50%" in export(write(tmp_path, printed("p", stderr=half)))


def test_a_list_of_contents_of_an_extension_goes(tmp_path):
    toc = '<h1>Table of Contents</h1><div class="toc"><ul><li><a href="#T">T</a></li></ul></div>'
    assert body(export(write(tmp_path, toc, "# T\n\ntext"))) == "## T\n\ntext"


# --- widgets, programs, LaTeX -------------------------------------------------------------------


def test_a_widget_falls_back_to_its_text_and_a_bar_to_nothing(tmp_path):
    cells = [
        ran("w", {WIDGET: {}, "text/plain": "IntSlider(value=7)"}),
        ran("t", {WIDGET: {}, "text/plain": "  0%|          | 0/3 [00:00<?, ?it/s]"}),
        ran("o", {WIDGET: {}, "text/plain": "HBox(children=(FloatProgress(value=0.0),))"}),
    ]
    text = export(write(tmp_path, *cells))
    assert "IntSlider(value=7)" in text and "0/3" not in text and "FloatProgress" not in text


def test_latex_that_is_no_formula_falls_back_to_text(tmp_path, caplog):
    tabular = "\\begin{tabular}{l} a \\\\ \\end{tabular}"
    text = export(write(tmp_path, ran("t", {"text/latex": tabular, "text/plain": "a table"})))
    assert "```text\na table\n```" in text and "tabular" not in text
    assert "cell 1 (c000): plain text stands for an output of LaTeX" in caplog.text
    own = export(
        write(
            tmp_path, "$\\newcommand{\\E}{E}$", ran("t", {"text/latex": "$\\E$", "text/plain": "p"})
        )
    )
    assert "\\$$\\E$$" in own


def test_lenient_leaves_out_what_cannot_be_shown(tmp_path, caplog):
    cells = [
        ran("j", {"application/javascript": "x()"}, {"text/plain": "kept"}),
        "[a](#nowhere) ![pic](none.png) $\\nope$",
        ran("n", count=None),
    ]
    with pytest.raises(blog.Refused) as refused:
        export(write(tmp_path, *cells))
    assert len(refused.value.problems) == 5
    text = body(export(write(tmp_path, *cells), lenient=True))
    assert "kept" in text and "a pic" in text and "$$\\nope$$" in text
    assert caplog.text.count("cell ") >= 5


# --- HTML ---------------------------------------------------------------------------------------


def html_output(tmp_path, text: str, **options) -> str:
    """What the post shows of an HTML output."""
    post = export(write(tmp_path, ran("h", {"text/html": text})), **options)
    return re.search(r'(?s)<div class="output-html" id="out-1-1">\n(.*)\n</div>', post)[1]


def test_a_style_sheet_reaches_its_output_alone(tmp_path):
    css = "@import url(http://f/x.css); h1, h2 { color: red } a::after { content: '}' }"
    text = html_output(tmp_path, f"<style>{css}</style><p>text</p>")
    assert text.startswith("<style>@scope (#out-1-1) {\nh1, h2 { color: red }")
    assert "@import" not in text
    assert "<style>" not in html_output(tmp_path, "<style>} h1 {color: red} {</style><p>text</p>")


def test_an_output_of_style_alone_shows_nothing(tmp_path):
    text = body(export(write(tmp_path, ran("h", {"text/html": "<style>h1 {color: red}</style>"}))))
    assert text == "```python\nh\n```"


@pytest.mark.parametrize(
    "text", ["<div><p>open", "</div></div><p>open", "<!-- open <p>", "<p title='open", "a <b c < d"]
)
def test_tags_left_open_stay_in_their_output(tmp_path, text):
    post = export(write(tmp_path, ran("h", {"text/html": text}), "## After"))
    page = re.search(r"(?s)\{::nomarkdown\}\n(<div.*?)\{:/nomarkdown\}", post)[1]
    assert page.count("<div") == page.count("</div>") and "<!--" not in page
    assert "\n## After\n" in post


def test_pictures_of_html_are_files_or_come_by_https(tmp_path, caplog):
    (tmp_path / "p.png").write_bytes(base64.b64decode(PNG))
    text = html_output(
        tmp_path,
        '<img alt="a" src="p.png"><img alt="b" src="http://h/b.png"><iframe src="http://h/"></iframe>'
        f'<img alt="c" src="data:image/png;base64,{PNG}">',
    )
    assert text.count("relative_url") == 2
    assert 'src="https://h/b.png"' in text and '<iframe src="https://h/">' in text
    assert "asked for by https" in caplog.text


def test_a_video_is_more_than_its_picture_and_a_formula_than_its_own(tmp_path):
    video = {"text/html": '<iframe src="https://h/v"></iframe>', "image/jpeg": PNG}
    formula = {"text/latex": "$f_1$", "image/png": PNG, "text/plain": "f"}
    table = {"text/latex": "\\begin{tabular}{l} a \\end{tabular}", "image/png": PNG}
    text = body(
        export(write(tmp_path, ran("v", video), ran("f", formula), ran("t", table, alt="a")))
    )
    assert "<iframe" in text and "$$f_1$$" in text and text.count("include figure") == 1


def test_raw_cells_are_text_or_told_of(tmp_path, caplog):
    cells = [new_raw_cell("Under the licence $L_1$"), new_raw_cell("---\ntitle: x\n---")]
    cells.append(new_raw_cell("\\foo", metadata={"raw_mimetype": "text/latex"}))
    assert body(export(write(tmp_path, *cells))) == "Under the licence $$L_1$$"
    assert caplog.text.count("raw cell") == 2


def test_what_works_in_colab_or_with_mathjax_2_alone_goes(tmp_path):
    text = html_output(
        tmp_path,
        '<link rel="stylesheet" href="http://x"><p>kept</p>'
        '<button class="colab-df-convert">b</button>'
        "<script>google.colab.kernel</script><script>MathJax.Hub.Config({})</script>",
    )
    assert text == "<p>kept</p>"


def test_words_that_programs_use_are_no_programs(tmp_path):
    assert "blob: eval(x) require([" in html_output(tmp_path, "<p>blob: eval(x) require([</p>")


# --- drawings -----------------------------------------------------------------------------------

PLOTLY_HTML = (
    "<div id='p'></div><script>require([\"plotly\"], function(Plotly) { Plotly.newPlot('p', "
    '[{"y": [1, 2]}], {"title": {"text": "Two <b>points</b>"}}, {"responsive": true}) });'
    "</script>"
)
ALTAIR_HTML = (
    '<div id="v"></div><script>(function(spec, embedOpt) { if (define.amd) { '
    'requirejs.config({paths}); require(["vega-embed"], displayChart) } })('
    '{"mark": "bar", "data": {"values": [{"a": 1}]}, "title": "Bars"}, '
    '{"mode": "vega-lite"});</script>'
)


@pytest.mark.parametrize(
    ("data", "kind", "alt"),
    [
        ({interactive.PLOTLY: PLOT}, "plotly", "Two points"),
        ({"text/html": PLOTLY_HTML}, "plotly", "Two points"),
        ({"application/vnd.vegalite.v4+json": CHART, "text/plain": "alt.Chart"}, "vega", "Bars"),
        ({"text/html": ALTAIR_HTML}, "vega", "Bars"),
    ],
)
def test_a_drawing_is_drawn_from_its_data(tmp_path, data, kind, alt):
    text = export(write(tmp_path, ran("d", data), ran("d", data)))
    assert text.count(f'<div class="live-{kind}" role="img" aria-label="{alt}">') == 2
    script = re.findall(
        r'<script src="https://cdn.jsdelivr.net/npm/([^"]*)" integrity="sha384-', text
    )
    assert len(script) == len(set(script)) == {"plotly": 1, "vega": 4}[kind]
    assert "requirejs" not in text and "alt.Chart" not in text


def test_what_stands_beside_a_drawing_stays(tmp_path):
    html = f"<p>Two plots</p>{PLOTLY_HTML}{PLOTLY_HTML}"
    text = export(write(tmp_path, ran("d", {"text/html": html})))
    assert "<p>Two plots</p>" in text and text.count('<div class="live-plotly"') == 2
    assert "require(" not in text


def test_what_loads_a_library_is_left_out(tmp_path):
    html = "<script>if (!window.Plotly) { define('plotly', function() { eval(1) }) }</script>"
    assert (
        body(export(write(tmp_path, ran("init()", {"text/html": html}))))
        == "```python\ninit()\n```"
    )


def test_a_renderer_of_another_package_draws_over_the_picture(tmp_path):
    mime = "application/vnd.nflib-min.live+json"

    def render(data, view):
        view.footer["live"] = "<script type='module'>let once = {{}};</script>"
        return f"<div id='{view.id}' lang='{view.lang}'>{data['module']} {view.picture}</div>"

    note = {"alt": "a plane", "caption": "Drag it."}
    cells = [ran("live()", {**PNGS, mime: {"module": "planar"}}, cell=note) for _ in range(2)]
    path = write(tmp_path, *cells, lang="ko")
    renderers = {**interactive.renderers(), mime: render}
    for text in (export(path, renderers=renderers), html_of(path, renderers=renderers)):
        figure = re.search(r'(?s)<figure class="live">(.*?)</figure>', text)[1]
        assert "a plane" in figure and "<b>그림 1.</b> Drag it." in figure
        assert re.search(
            r"(img|include) .*<div id='out-1-1' lang='ko'>planar True</div>", figure, re.S
        )
        assert text.count("let once") == 1
    assert 'let once = {{ "{" }}{}};' in export(path, renderers=renderers)
    assert "planar True" not in export(path) and "include figure.liquid" in export(path)
