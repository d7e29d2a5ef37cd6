"""What the exporter writes, refuses and leaves alone; no Jekyll and no browser are needed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_output

import nbconvert_al_folio as blog
from tests import ROOT
from tests.blog import foreign
from tests.blog.making import body, export, html_of, ran, write

PNG = foreign.picture()


# --- front matter -------------------------------------------------------------------------------


def test_front_matter_is_yaml_and_keeps_every_key(tmp_path):
    post = {
        "title": 'A "quoted": title # with $K<1$ and 한글',
        "description": "about $q|p$",
        "tags": ["a", "b"],
        "categories": "notes",
        "toc": {"sidebar": "left"},
        "citation": True,
        "related_posts": True,
        "last_updated": "2026-02-01",
    }
    meta = yaml.safe_load(export(write(tmp_path, "text", **post)).split("---\n")[1])
    assert meta.pop("title") == r'A "quoted": title # with \(K&lt;1\) and 한글'
    assert meta.pop("description") == r"about \(q|p\)"
    assert (meta.pop("layout"), meta.pop("lang"), meta.pop("date")) == ("post", "en", "2026-01-02")
    assert meta == {k: v for k, v in post.items() if k not in ("title", "description")}


def test_the_first_h1_is_the_title_and_the_rest_begins_at_h2(tmp_path):
    text = export(write(tmp_path, "# Why *this*?\n\nbecause", "## One\n\n### Two", title=None))
    assert '\ntitle: "Why this?"\n' in text
    assert re.findall(r"(?m)^#+ .*", body(text)) == ["## One", "### Two"]


def test_several_h1_are_sections_when_the_title_is_given(tmp_path):
    text = body(export(write(tmp_path, "# One\n\na", "## Sub", "# Two")))
    assert re.findall(r"(?m)^#+ .*", text) == ["## One", "### Sub", "## Two"]


def test_an_h1_inside_the_text_is_no_title(tmp_path):
    text = body(export(write(tmp_path, "first\n\n# One", "## Sub")))
    assert re.findall(r"(?m)^#+ .*", text) == ["## One", "### Sub"]


def test_date_and_slug_make_the_name(tmp_path):
    path = write(tmp_path, "x", lang="ko")
    page = blog.publish([path], tmp_path / "site", date="2026-03-04")[0]
    assert page.relative_to(tmp_path / "site").as_posix() == "_posts/2026-03-04-note-ko.md"


# --- what is refused ----------------------------------------------------------------------------

WIDGET = "application/vnd.jupyter.widget-view+json"
REFUSALS = {
    "unexecuted": ([ran("1", count=None)], "not executed"),
    "error": (
        [new_code_cell("1/0", execution_count=1, outputs=[
            new_output("error", ename="ZeroDivisionError", evalue="by zero", traceback=["tb"])])],
        "ZeroDivisionError: by zero .*--allow-errors",
    ),
    "no alt": ([ran("plot()", {"image/png": PNG})], "without alt text"),
    "no alt in Markdown": (["![](x.png)"], "without alt text"),
    "no alt in HTML": ([ran("h", {"text/html": "<img src='//a/b.png'>"})], "without alt text"),
    "open $$": (["a $$x"], r"\$\$ that nothing closes"),
    "open brace": (["$\\frac{1}{2$"], "{ that nothing closes"),
    "open environment": (["\\begin{align} x"], r"without \\end{align}"),
    "crossed": (["$$\\left( x \\begin{matrix} 1 \\right) \\end{matrix}$$"], "out of place"),
    "misplaced &": (["$a & b$"], "& outside of an array"),
    "entity": (["$a &lt; b$"], "&lt;, which is HTML"),
    "unknown macro": (["$\\qty(x)$"], r"does not know: \\qty"),
    "unknown macro in an output": ([ran("m", {"text/latex": "$\\foo$"})], r"\\foo"),
    "unknown environment": (["$$\\begin{tikzpicture}\\end{tikzpicture}$$"], "tikzpicture"),
    "unknown label": (["see \\eqref{eq:none}"], "'eq:none', which no"),
    "no number": (["$x \\label{a}$ and \\ref{a}"], "no number to refer to"),
    "label twice": (["$$a\\label{q}$$", "$$b\\label{q}$$"], "stands already in cell 2"),
    "dead link": (["[there](#nowhere)"], "no heading or anchor"),
    "widget": ([ran("w", {WIDGET: {}})], "widget-view"),
    "javascript": ([ran("j", {"application/javascript": "alert(1)"})], "application/javascript"),
    "unknown output": ([ran("u", {"application/x-own": "1"})], "application/x-own"),
    "blob": ([ran("b", {"text/html": "<script>import('blob:x')</script>"})], "blob:"),
    "eval": ([ran("e", {"text/html": "<script>eval('1')</script>"})], "eval"),
    "require": ([ran("r", {"text/html": "<script>require(['plotly'])</script>"})], "needs Jupyter"),
    "missing image": (["![a plot](none.png)"], "none.png"),
    "private character": (["\U000f0001"], "private-use"),
}  # fmt: skip


@pytest.mark.parametrize("cells, why", REFUSALS.values(), ids=REFUSALS)
def test_refused_with_the_name_of_the_cell(tmp_path, cells, why):
    path = write(tmp_path, "text", *cells)
    with pytest.raises(blog.Refused, match=rf"01_note\.ipynb, cell [23] \(c00[12]\): .*{why}"):
        blog.publish([path], tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    "post, why",
    [
        ({"title": None}, "has no title"),
        ({"date": None}, "YYYY-MM-DD is expected, there is none"),
        ({"date": "5 May"}, "YYYY-MM-DD is expected, got '5 May'"),
        ({"slug": "a/b"}, "slug of letters"),
    ],
)
def test_refused_with_the_name_of_the_notebook(tmp_path, post, why):
    with pytest.raises(blog.Refused, match=rf"01_note\.ipynb: .*{why}"):
        export(write(tmp_path, "text", **post))


def test_two_posts_with_one_slug(tmp_path):
    one, two = write(tmp_path, "a"), write(tmp_path, "b", name="02_note.ipynb")
    with pytest.raises(blog.Refused, match="two posts with the slug 'note'"):
        blog.publish([one, two], tmp_path / "site")
    blog.publish([one], tmp_path / "site")
    with pytest.raises(blog.Refused, match=r"2026-01-02-note\.md has the slug 'note' already"):
        blog.publish([two], tmp_path / "site", date="2026-05-06")


def test_errors_are_published_when_allowed(tmp_path):
    def cell(*tags):
        output = new_output("error", ename="E", evalue="v", traceback=["\x1b[31mTraceback\x1b[0m"])
        return new_code_cell(
            "boom()", execution_count=1, outputs=[output], metadata={"tags": list(tags)}
        )

    shown = '<pre class="output stderr"><span class="ansi-red-fg">Traceback</span></pre>'
    assert shown in export(write(tmp_path, cell()), allow_errors=True)
    assert shown in export(write(tmp_path, cell("raises-exception")))


# --- all or nothing, and always the same ---------------------------------------------------------


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_the_same_notebook_gives_the_same_bytes(tmp_path):
    nbformat.write(foreign.notebook(), tmp_path / "foreign.ipynb")
    sites = []
    for seed in ("0", "1"):
        subprocess.run(
            [sys.executable, "-m", "nbconvert_al_folio",
             tmp_path / "foreign.ipynb", "--out", tmp_path / seed],
            check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True,
        )  # fmt: skip
        sites.append(snapshot(tmp_path / seed))
    assert sites[0] == sites[1]
    assert {name.split("/")[0] for name in sites[0]} == {"_posts", "assets"}


def test_a_refused_run_writes_nothing(tmp_path):
    good, site = write(tmp_path, "first"), tmp_path / "site"
    blog.publish([good], site)
    before = snapshot(site)
    write(tmp_path, "changed")
    bad = write(tmp_path, "$\\nope$", name="02_bad.ipynb")
    with pytest.raises(blog.Refused):
        blog.publish([good, bad], site)
    assert snapshot(site) == before


@pytest.mark.slow
def test_a_killed_run_leaves_whole_posts(tmp_path):
    """Killed at many moments, a run leaves each post as it was or as it will be."""
    site = tmp_path / "site"
    figure = ran("f", {"image/png": PNG}, **{"image/png": {"alt": "a plot"}})
    names = [f"{i:02d}_n{i}.ipynb" for i in range(8)]
    paths = [write(tmp_path, "old " * 500, figure, name=name) for name in names]
    blog.publish(paths, site)
    old = snapshot(site)
    paths = [write(tmp_path, "new " * 500, figure, name=name) for name in names]
    blog.publish(paths, tmp_path / "other")
    new = snapshot(tmp_path / "other")
    run = (
        "import sys, nbconvert_al_folio as p, nbconvert_al_folio.files as f\n"
        "keep = f.replace\n"
        "f.replace = lambda path, data: (print('.', flush=True), keep(path, data))\n"
        "p.publish(sys.argv[2:], sys.argv[1])\n"
    )
    for moment in range(1, 17, 3):
        child = subprocess.Popen(
            [sys.executable, "-c", run, site, *paths], cwd=ROOT, stdout=subprocess.PIPE
        )
        for _ in range(moment):
            child.stdout.readline()
        time.sleep(0.0005 * moment)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        for name, data in snapshot(site).items():
            if not Path(name).name.startswith("."):  # Jekyll passes over a draft
                assert data in (old.get(name), new[name]), name


# --- outputs ------------------------------------------------------------------------------------


def test_figures_go_through_the_include_and_are_named_by_content(tmp_path):
    note = {"alt": 'A "plot" of <x> {{ y }}', "caption": "Mass $|J|$ is *kept* {% raw %}."}
    text = "*Figure. Mass $|J|$ is *kept* {% raw %}.*"
    cell = ran("show(fig)", {"image/png": PNG}, **{"image/png": note})
    cell.outputs.append(new_output("display_data", data={"text/markdown": text}))
    post = export(write(tmp_path, cell))
    line = next(line for line in post.splitlines() if "include" in line)
    match = re.fullmatch(
        r'\{% include figure\.liquid path="(assets/img/note/[0-9a-f]{16}\.png)" '
        r'class="img-fluid rounded z-depth-1 bg-white p-2" width="416" '
        r'alt="A &quot;plot&quot; of &lt;x&gt; &#123;{ y }}" '
        r'caption="<b>Figure 1\.</b> Mass \\\(\|J\|\\\) is <em>kept</em> &#123;% raw &#37;}\." '
        r"zoomable=true %\}",
        line,
    )
    assert match, line
    assert (tmp_path / "site" / match[1]).read_bytes().startswith(b"\x89PNG")
    assert "Figure." not in post


def test_old_theme_is_found_by_its_include(tmp_path):
    (tmp_path / "site" / "_includes").mkdir(parents=True)
    (tmp_path / "site" / "_includes" / "figure.html").touch()
    cell = ran("f", {"image/png": PNG}, alt="a plot")
    assert "{% include figure.html path=" in export(write(tmp_path, cell))


def test_embedded_video_becomes_a_file(tmp_path):
    html = (
        '<video controls><source type="video/webm" src="data:video/webm;base64,GkXfow=="></video>'
    )
    post = export(write(tmp_path, ran("v", {"text/html": html})))
    name = re.search(r"\{\{ '/(assets/video/note/\w+\.webm)' \| relative_url \}\}", post)[1]
    assert (tmp_path / "site" / name).read_bytes() == bytes.fromhex("1a45dfa3")
    assert "base64" not in post


def test_alt_of_the_cell_describes_images_in_html(tmp_path):
    cell = ran("a", {"text/html": "<img src='https://h/b.png'><script>'<img>'</script>"})
    cell.metadata["alt"] = 'a "moving" plot'
    text = export(write(tmp_path, cell))
    assert """<img alt='a "moving" plot' src="https://h/b.png"><script>'<img>'<""" in text


def test_images_and_links_in_raw_html_are_found(tmp_path):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a b.png").write_bytes(b"picture")
    text = export(
        write(
            tmp_path,
            '<p><img width="3" src="pics/a%20b.png" alt="one"> <a href="#Next-part">x</a></p>',
            'in a line <img alt="two" src=pics/a%20b.png>',
            "## Next part",
        )
    )
    address = re.escape("{{ '/assets/img/note/") + r"\w{16}" + re.escape(".png' | relative_url }}")
    assert re.search(rf'<img width="3" src="{address}" alt="one"> <a href="#next-part">', text)
    assert re.search(rf'<img alt="two" src="{address}">', text)


def test_pictures_of_an_earlier_edition_go(tmp_path):
    note, folder = {"image/png": {"alt": "a"}}, tmp_path / "site" / "assets" / "img" / "note"
    export(write(tmp_path, ran("f", {"image/png": PNG}, **note)))
    (folder / "my-own.png").touch()
    before = {path.name for path in folder.iterdir()}
    export(write(tmp_path, ran("f", {"image/png": foreign.picture(dpi=50)}, **note)))
    after = {path.name for path in folder.iterdir()}
    assert len(after) == len(before) == 2 and before & after == {"my-own.png"}


def test_dollars_in_html_are_money_between_tags_and_formulas_within(tmp_path):
    html = (
        "<table><td>$5</td><td>6$</td><td>$a &lt; b$</td></table><p>$5 to $6 <code>$c$</code></p>"
    )
    text = export(write(tmp_path, ran("t", {"text/html": html})))
    expected = (
        r"<td>\$5</td><td>6\$</td><td>\(a &lt; b\)</td></table><p>\$5 to \$6 <code>$c$</code>"
    )
    assert expected in text


def test_streams_lose_overwritten_lines_and_keep_colours(tmp_path):
    cell = ran("print()")
    cell.outputs = [
        new_output("stream", name="stdout", text="plain {{ x }}\n"),
        new_output("stream", name="stdout", text=" 10%\r100%\n```\n"),
        new_output("stream", name="stderr", text="\x1b[1;31mred\x1b[0m {{ x }} <b>\n"),
    ]
    text = export(write(tmp_path, cell))
    assert '````text\nplain {{ "{" }}{ x }}\n100%\n```\n````\n{: .output}\n' in text
    assert (
        '<pre class="output stderr"><span class="ansi-red-intense-fg ansi-bold">red</span>'
        ' {{ "{" }}{ x }} &lt;b&gt;</pre>'
    ) in text


def test_the_richest_output_is_taken(tmp_path):
    data = {"text/plain": "plain", "text/html": "<i>html</i>", "text/latex": "$l$"}
    text = body(export(write(tmp_path, ran("x", data, {"text/latex": "$x|y$", "text/plain": "p"}))))
    assert "<i>html</i>" in text and "plain" not in text and "$l$" not in text
    assert r"\$$x\vert y$$" in text


def test_tags_hide_cells(tmp_path):
    out = {"text/plain": "shown"}
    cells = [ran("gone", out, tags=["remove-cell"]), ran("hidden", out, tags=["remove-input"])]
    text = body(
        export(write(tmp_path, *cells, ran("kept", {"text/plain": "no"}, tags=["remove-output"])))
    )
    assert text == "```text\nshown\n```\n{: .output}\n\n```python\nkept\n```"


# --- links, twins, exercises ----------------------------------------------------------------------


def series(tmp_path: Path) -> list[Path]:
    links = "[other](02_b.ipynb#eq-5), [its text](02_b.md), [code](../lib/x.py#L3) {{ x }}"
    (tmp_path / ".git").mkdir()
    nbs = tmp_path / "nbs"
    return [
        write(nbs, links, name="01_a.ipynb"),
        write(nbs, "[a](01_a.md)", name="02_b.ipynb"),
        write(nbs / "ko", links, name="01_a.ipynb", lang="ko", title="가"),
        write(nbs / "ko", "x", name="02_b.ipynb", lang="ko", title="나"),
    ]


def test_posts_of_one_call_link_to_each_other(tmp_path):
    pages = blog.publish(series(tmp_path), tmp_path / "site", repository="https://h/r", ref="v1")
    first, _, korean, _ = (page.read_text("utf-8") for page in pages)
    assert [p.stem for p in pages] == [f"2026-01-02-{s}" for s in ("a", "b", "a-ko", "b-ko")]
    assert (
        "[other]({% post_url 2026-01-02-b %}#eq-5), [its text]({% post_url 2026-01-02-b %})"
        in first
    )
    assert "[code](https://h/r/blob/v1/lib/x.py#L3)" in first
    assert "[other]({% post_url 2026-01-02-b-ko %}#eq-5)" in korean
    assert "[한국어로 읽기]({% post_url 2026-01-02-a-ko %})" in first
    assert "[Read in English]({% post_url 2026-01-02-a %})" in korean
    assert "[the notebook](https://h/r/blob/v1/nbs/01_a.ipynb)" in first


def test_a_post_alone_links_to_the_repository_or_nowhere(tmp_path):
    path = series(tmp_path)[0]
    assert "[other](https://h/r/blob/HEAD/nbs/02_b.ipynb#eq-5)" in export(
        path, repository="https://h/r"
    )
    assert "\nother, its text, code" in export(path)
    known = write(
        path.parent, "[o](02_b.ipynb)", name="01_a.ipynb", links={"02_b": "2025-12-31-old"}
    )
    assert "[o]({% post_url 2025-12-31-old %})" in export(known)


def test_bare_addresses_are_links(tmp_path):
    text = "see https://h/a_b?c=1#d, (http://x.y/), https://h/글 and [https://h/x](https://h/y)."
    text += ' <a href="https://h/x">https://h/x</a>'
    post = body(export(write(tmp_path, text)))
    assert post == (
        "see <https://h/a_b?c=1#d>, (<http://x.y/>), <https://h/>글 and [https://h/x](https://h/y)."
        ' <a href="https://h/x">https://h/x</a>'
    )
    page = html_of(write(tmp_path, text))
    assert page.count("<a href") == 5 and '(<a href="http://x.y/">http://x.y/</a>)' in page


def test_links_inside_follow_the_ids_of_kramdown(tmp_path):
    text = body(export(write(tmp_path, '## What is `it`?\n\n<a id="eq-5"></a>\n\n$$x \\tag{5}$$',
                             "[a](#What-is-it?) [b](#what-is-it) [(5)](#eq-5)")))  # fmt: skip
    assert "[a](#what-is-it) [b](#what-is-it) [\\(5)](#eq-5)".replace("\\(", "(") in text


def test_solutions_are_folded_after_their_exercise(tmp_path):
    solution = 'SOLUTIONS: dict = {"01_note": {1: "answer = {{1}}\\n"}}\n'
    (tmp_path / "solutions.py").write_text(solution, encoding="utf-8")
    cells = [
        "### Exercise 1: count",
        ran("answer = None", tags=["exercise"]),
        ran("assert answer is None", tags=["check"]),
        "## After",
    ]
    text = body(export(write(tmp_path, *cells)))
    order = ["answer = None", "assert answer", "<details>", "Solution of exercise 1</summary>",
             '```python\nanswer = {{ "{" }}{1}}\n```', "</details>", "## After"]  # fmt: skip
    places = [text.index(piece) for piece in order]
    assert places == sorted(places)
    (tmp_path / "solutions.py").write_text('SOLUTIONS = {"01_note": {}}', encoding="utf-8")
    with pytest.raises(blog.Refused, match="exercise 1 has no solution"):
        export(write(tmp_path, *cells))


# --- the other doors ------------------------------------------------------------------------------


@pytest.mark.slow
def test_nbconvert_writes_the_same_post_from_any_folder(tmp_path):
    nbformat.write(foreign.notebook(), tmp_path / "foreign.ipynb")
    run = (
        "import sys; from nbconvert.nbconvertapp import NbConvertApp\n"
        "app = NbConvertApp.instance(); app.initialize(sys.argv[1:]); app.start()\n"
        "print(type(app.writer).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, "--to", "al-folio", "foreign.ipynb", "--output-dir", "one"],
        check=True, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "AtomicWriter\n"
    blog.publish([tmp_path / "foreign.ipynb"], tmp_path / "two")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_the_command_is_installed(tmp_path):
    path = write(tmp_path, "text")
    command = Path(sys.executable).with_name("al-folio")
    done = subprocess.run(
        [command, path.name, "--out", "site"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "site/_posts/2026-01-02-note.md\n"


def test_command_line_says_why_it_refuses(tmp_path):
    path = write(tmp_path, "$\\nope$")
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert_al_folio", path, "--out", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(
        "refused, and nothing written: 1 problem\n01_note.ipynb, cell 1 (c000): a macro MathJax"
    )


def test_html_needs_no_other_file_and_keeps_its_links(tmp_path):
    nbformat.write(foreign.notebook(), tmp_path / "foreign.ipynb")
    text = html_of(tmp_path / "foreign.ipynb")
    assert re.findall(r"\b(?:src|href)=\"(?!data:|#)([^\"]*)", text) == ["other.ipynb#x"]
    assert "{%" not in re.sub(r"(?s)<pre.*?</pre>|<p>.*?</p>", "", text)


def test_footnotes_of_a_page_lead_to_each_other(tmp_path):
    path = write(tmp_path, "one[^1]\n\n[^1]: first $x$", "two[^1]\n\n[^1]: second")
    text = html_of(path)
    targets = re.findall(r'href="#(fn[^"]*)"', text)
    assert len(targets) == 4 and len(set(targets)) == 4
    assert all(f'id="{target}"' in text for target in targets)
    assert r"first \(x\)" in text


def test_tex_in_prose_is_told(tmp_path, caplog):
    assert r"\textit{flow}" in export(write(tmp_path, r"a \textit{flow} of $x$")).replace(
        "\\\\", "\\"
    )
    assert r"cell 1 (c000): \textit{...} in the text is no formula" in caplog.text


def test_cases_are_well_formed():
    cases = json.loads((Path(__file__).parent / "cases.json").read_text("utf-8"))
    assert len({case["id"] for case in cases}) == len(cases) >= 80
