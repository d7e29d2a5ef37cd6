"""Notebooks that want more than their visible content allows, and notebooks that are none."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell

import nbconvert_al_folio as blog
from tests.blog import foreign
from tests.blog.making import body, export, html_of, ran, write

PNG = foreign.picture()
LIQUID = "{{ site.time }}{% include x %}"


def live_liquid(text: str) -> list[str]:
    """What Liquid would run in a post, other than the exporter's own calls."""
    calls = re.findall(r"\{\{.*?\}\}|\{%.*?%\}", text.replace('{{ "{" }}', ""), re.S)
    own = r"\{\{ '/assets/[\w/.-]+' \| relative_url \}\}|\{% post_url [\w-]+ %\}|\{% include figure"
    return [call for call in calls if not re.match(own, call)]


REFUSED = {
    "slug": ({"slug": "../../x"}, "slug"),
    "slug with a line": ({"slug": "x\n"}, "slug"),
    "language": ({"lang": 'en"><script>'}, "language"),
    "month": ({"date": "2026-13-01"}, "date YYYY-MM-DD"),
    "day": ({"date": "2026-02-30"}, "date YYYY-MM-DD"),
    "date with more": ({"date": "2026-11-22\nlayout: evil"}, "date YYYY-MM-DD"),
    "repository": ({"repository": "javascript:alert(1)//"}, "repository"),
    "repository with Liquid": ({"repository": f"https://x/{LIQUID}"}, "repository"),
    "ref": ({"ref": "v1) <script>"}, "ref"),
    "links": ({"links": {"a": f"2026-11-22-x %}}{LIQUID}"}}, "links"),
    "links as a list": ({"links": ["a"]}, "links"),
    "half a character": ({"title": "a\ud800b"}, "half"),
}


@pytest.mark.parametrize(("post", "why"), REFUSED.values(), ids=REFUSED)
def test_metadata_is_refused(tmp_path, post, why):
    path = write(tmp_path, "text")
    node = json.loads(path.read_text("utf-8"))
    node["metadata"]["post"].update(post)
    path.write_text(json.dumps(node), encoding="utf-8")
    with pytest.raises(blog.Refused, match=why):
        export(path)
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("post", ["x", ["x"], 5])
def test_a_post_that_is_no_dictionary(tmp_path, post):
    path = write(tmp_path, "text")
    node = json.loads(path.read_text("utf-8"))
    node["metadata"]["post"] = post
    path.write_text(json.dumps(node), encoding="utf-8")
    with pytest.raises(blog.Refused, match="metadata's post is"):
        export(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', "", "no", '{"cells": 5, "nbformat": 4}'])
def test_a_file_that_is_no_notebook(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(blog.Refused, match=r"a\.ipynb: a Jupyter notebook is expected"):
        export(path)
    with pytest.raises(blog.Refused, match=r"none\.ipynb: .*No such file"):
        export(tmp_path / "none.ipynb")


def test_front_matter_holds_no_key_and_no_tag_of_its_own_making(tmp_path):
    post = {
        "a: 1\nlayout: page\nz": "x",
        "permalink": "/index.html",
        "layout": "none",
        "redirect_to": "https://evil",
        "tags": ["<script>alert(1)</script>"],
        "authors": {"name": "<img>"},
        "title": f"<b> {LIQUID} \u2028\n---\nlayout: evil",
    }
    text = export(write(tmp_path, "text", **post))
    meta = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert set(meta) == {
        *("layout", "title", "date", "tags", "lang", "authors", "related_posts", "toc"),
        "a: 1\nlayout: page\nz",
    }
    assert meta["layout"] == "post"
    assert "<" not in json.dumps(meta)


def test_liquid_of_a_notebook_is_text_wherever_it_stands(tmp_path):
    (tmp_path / "p.png").write_bytes(b"picture")
    note = {"alt": LIQUID + '" onerror="x', "caption": LIQUID}
    cells = [
        f"# T {LIQUID}\n\n{LIQUID} `{LIQUID}` $z_{{{{x}}}}$",
        f"> [a](https://x/{LIQUID} '{LIQUID}')",
        f"![{LIQUID}](p.png '{LIQUID}')\n\n<b title='{LIQUID}'>{LIQUID}</b>[^{{{{1}}]",
        f"[^{{{{1}}]: {LIQUID}\n\n<u>{LIQUID}</u>\n\n<div title='{LIQUID}'>{LIQUID}</div>",
        ran(LIQUID, {"text/plain": LIQUID}, {"text/html": f"<i>{LIQUID}</i>"}, tags=["hide-cell"]),
        ran("f", {"image/png": PNG}, cell=note),
        ran(
            "p", {"application/vnd.plotly.v1+json": {"data": [LIQUID], "layout": {"title": LIQUID}}}
        ),
    ]
    path = write(tmp_path, *cells, name="a {{x}} (1).ipynb", repository="https://github.com/u/r")
    assert live_liquid(export(path)) == []


def test_markdown_runs_nothing(tmp_path):
    text = (
        'a <script>alert(1)</script> <b onclick="alert(1)">b</b> <style>h1 {color: red}</style>\n\n'
        '<div onload=alert(1)>\n<SCRIPT src="//x"></SCRIPT>\n'
        '<a href="java&#10;script:alert(1)">c</a>\n'
        '<form action="javascript:x()"><iframe srcdoc="<script>"></iframe></form></div>\n\n'
        "[d](javascript:alert(1)) [e](JaVaScRiPt&colon;alert(1)) ![f](data:text/html,x)"
    )
    post = body(export(write(tmp_path, text), lenient=True)).lower()
    assert "alert(1)</b>" not in post
    assert not re.search(r"</?script|</?style|\son\w+=|srcdoc|href=[\"']?\s*java|action=", post)


TRICKS = [
    "<img/onerror=alert(1) alt=x src=//x>",
    '<img alt="x" src="//x"onerror=alert(1)>',
    "<pre><img alt=x src=//x onerror=alert(1)></pre>",
    "<code><b onclick='x'>t</b></code> in a line",
    "<!--><img alt=x src=//x onerror=alert(1)>-->",
    "<!doctype <img onerror=alert(1)>",
    '<iframe src="javascript:alert(1)"></iframe>',
    "<svg><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<object data='javascript:alert(1)'></object><embed src='javascript:x'>",
    "<base href='//evil'><meta http-equiv=refresh content='0;url=javascript:x'><link href=//x>",
    '<a title=x"onclick=alert(1)>x</a>',
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<b\nonclick\n=\nalert(1)>x</b>",
    "<div><p onmouseover=alert(1)>x</div>",
    "<div>\n<img alt=x src=//x onerror=alert(1) ",
    "<div>\n<img alt='x' src=//x onerror='alert(1)",
]


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_of_html_run_nothing(tmp_path, trick):
    """Read by a parser of browsers' tolerance: no handler, no program, no other document."""
    for source in (trick, f"text {trick} text", f"<div>{trick}</div>", f"- item\n\n  {trick}"):
        path = write(tmp_path, source)
        text = export(path, lenient=True).split("{::nomarkdown}\n<style>")[0]
        for page in (text.split("\n---\n", 1)[1], html_of(path, lenient=True)):
            soup = BeautifulSoup(page, "html.parser")
            assert not soup.find(["script", "style", "object", "embed", "base", "meta", "link"])
            for tag in soup.find_all(True):
                for name, value in tag.attrs.items():
                    assert not name.startswith("on") and "javascript:" not in str(value).lower()


@pytest.mark.parametrize(
    "source",
    ["../secret.png", "/etc/hostname", "file:///etc/passwd", "sub/../../secret.png", "link.png"],
)
def test_pictures_come_from_beside_the_notebook(tmp_path, source):
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = tmp_path / "nb"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    path = write(folder, f'<img alt="x" src="{source}">')
    try:
        export(path)
    except blog.Refused as refused:
        assert "beside the notebook" in str(refused)
    assert not list(folder.glob("site/assets/**/*.png"))


def test_pictures_of_the_folder_that_is_named(tmp_path):
    (tmp_path / "plot.png").write_bytes(b"picture")
    path = write(tmp_path / "nb", "![a](../plot.png)")
    assert "include figure" in export(path, pictures=str(tmp_path))


@pytest.mark.parametrize(
    ("bundle", "why"),
    [
        ({"text/html": "PGI+"}, "got text/html"),
        ({}, "picture is expected"),
        ({"image/png": "%%"}, "base64"),
    ],
)
def test_attachments_are_pictures(tmp_path, bundle, why):
    cell = new_markdown_cell("![a](attachment:my%20x.png)", attachments={"my x.png": bundle})
    with pytest.raises(blog.Refused, match=why):
        export(write(tmp_path, cell))


def test_an_svg_picture_holds_no_script(tmp_path):
    for svg in ("<svg><script>x</script></svg>", "<svg onload='x'/>"):
        with pytest.raises(blog.Refused, match="script"):
            export(write(tmp_path, ran("f", {"image/svg+xml": svg}, alt="a")))


@pytest.mark.parametrize("character", ["\U00100000", "\U0010fffd", "\U000f0000", "\ud800"])
def test_private_characters_are_told(tmp_path, character):
    path = write(tmp_path, "text", ran("x", {"text/plain": "out"}))
    for place in ("text", "out"):
        path.write_text(
            path.read_text("utf-8").replace(f'"{place}"', json.dumps(place + character)),
            encoding="utf-8",
        )
        with pytest.raises(blog.Refused, match="private-use character"):
            export(path)


BOMBS = {
    "comments": "<!--" * 30_000,
    "comments, closed": "<!--" * 30_000 + "-->",
    "scripts": "<script " * 20_000 + ">",
    "open scripts": "<script>" * 15_000,
    "brackets": "<" * 60_000,
    "deep": "<b>" * 20_000 + "</b>" * 20_000,
    "quotes": "<a b='" * 20_000 + ">",
    "instructions": "<?" * 50_000 + ">",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_html_that_would_take_a_parser_minutes(tmp_path, text):
    """Either it is written, or it is told what is wrong; the time-out of the suite is the judge."""
    cells = [ran("x", {"text/html": text})]
    try:
        assert export(write(tmp_path, *cells))
    except blog.Refused as refused:
        assert "an HTML output with" in str(refused)


def test_all_problems_are_told_at_once_and_once(tmp_path):
    cells = [
        "$\\nope$",
        ran("f", {"image/png": PNG}),
        ran("f", {"image/png": PNG}),
        ran("g", count=None),
    ]
    one = write(tmp_path, *cells, date=None)
    two = write(tmp_path, "![](x.png)", name="02_b.ipynb", title=None)
    bad = tmp_path / "03_c.ipynb"
    bad.write_text("{", encoding="utf-8")
    with pytest.raises(blog.Refused) as refused:
        blog.publish([one, two, bad], tmp_path / "site")
    told = str(refused.value).splitlines()
    wheres = [line.split(":")[0] for line in told if not line.startswith(" ")]
    assert sorted(wheres) == [
        "01_note.ipynb",
        *(f"01_note.ipynb, cell {n} (c00{n - 1})" for n in (1, 2, 3, 4)),
        "02_b.ipynb",
        *["02_b.ipynb, cell 1 (c000)"] * 2,
        "03_c.ipynb",
    ]
    assert sum("--missing-alt warn" in line for line in told) == 1


def test_flags_let_a_newcomers_notebook_through(tmp_path, caplog):
    output = nbformat.v4.new_output("error", ename="E", evalue="v", traceback=["tb"])
    failed = nbformat.v4.new_code_cell("boom()", execution_count=1, outputs=[output])
    cells = [ran("f", {"image/png": PNG}), ran("g", count=None), failed, "![](x.png)"]
    (tmp_path / "x.png").write_bytes(b"picture")
    options = {"date": "today", "title": "T", "missing_alt": "warn"}
    path = write(tmp_path, *cells, title=None, date=None)
    text = export(path, **options, allow_unexecuted=True, allow_errors=True)
    assert 'alt="output of cell 1"' in text and 'alt="output of cell 4"' in text
    assert caplog.text.count("without alt text") == 2


@pytest.mark.parametrize(
    "source", ["!pip install x", "# needs x\n%pip install x\n!apt-get install y"]
)
def test_cells_that_install_need_not_have_run(tmp_path, source):
    assert "install" in export(write(tmp_path, ran(source, count=None)))


def test_a_cell_with_an_output_has_run_whatever_its_count(tmp_path):
    assert "shown" in export(write(tmp_path, ran("x", {"text/plain": "shown"}, count=None)))
