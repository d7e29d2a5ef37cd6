"""One notebook with everything that decides how a post looks: what a page must hold together."""

from __future__ import annotations

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.blog.foreign import picture

LONG = r"v(x_1) = \max_{a}\left(r(x_1, a) + \beta \sum_{y} q(x_1, a, y) v(y)\right) + \alpha_1 + 2"
ELEMENTS = (
    "abbr b bdo big cite del dfn em font i ins label mark q s small span strike strong sub sup u"
).split()
MARKDOWN = [
    f"A long formula ${LONG}$, in the middle of a sentence.\n\n- in a list ${LONG}$\n\n"
    f"$$\n\\begin{{aligned}} {LONG} &= 1 \\\\ &= {LONG} \\end{{aligned}} \\tag{{7}}\n$$\n",
    "| option | what |\n|---|---|\n| `a_long_name_of_an_option_in_code` | "
    "a text of many words that would like to be wide, too, and has to wrap |\n",
    "Inline: " + " ".join(f"<{name}>$e_{{{name}}}|x$</{name}>" for name in ELEMENTS) + " end.",
    "A claim[^why] and another[^two], and one[^late] whose note comes later. See [the paper][r].",
    "[^why]: Because $n_1 > 0$.\n\n    A second paragraph with $n_2$.\n\n[^two]: <u>$n_3$</u>",
    "[^late]: $n_4$\n\n[^never]: Not referred to, with $n_5$.\n\n[r]: https://example.org",
    "Between $1M and $2M, or $5-$10: set $m=5$.",
    "![two](attachment:p.png)\n\n[link](https://h/x 'a $x$') and ![in](attachment:p.png) line.",
    '![three](attachment:p.png "A title with $t_1$")',
]


def shown(data: dict, **metadata) -> NotebookNode:
    return new_output("display_data", data=data, metadata=metadata)


def notebook() -> NotebookNode:
    """The notebook, executed."""
    figure = {"image/png": picture(), "application/vnd.nflib-min.dark+png": picture(dpi=90)}
    colour = "\x1b[31mred\x1b[0m " * 3 + "long " * 40
    outputs = {
        "fig": [shown(figure)],
        "small": [shown({"image/png": picture(dpi=30)})],
        "style": [shown({"text/html": "<style>h2, p { color: red }</style><p id='own'>own</p>"})],
        "open": [shown({"text/html": "<div><table><tr><td>" + "wide " * 3 + "</td>"})],
        "log": [new_output("stream", name="stdout", text="epoch\n" * 200)],
        "warn": [new_output("stream", name="stderr", text=colour)],
        "plot": [
            shown({"application/vnd.plotly.v1+json": {"data": [], "layout": {"title": "Empty"}}})
        ],
    }
    cells = [new_markdown_cell(text) for text in MARKDOWN]
    for cell in cells[-2:]:
        cell["attachments"] = {"p.png": {"image/png": picture(dpi=20)}}
    for name, made in outputs.items():
        cell = new_code_cell(f"{name}()", outputs=made, execution_count=1)
        cell.metadata.update(alt=f"a {name}", tags=["hide-input"])
        if name == "fig":
            cell.metadata["caption"] = "Two $c_1$ in one."
        cells.append(cell)
    cells.append(new_markdown_cell("## After\n\nall."))
    for index, cell in enumerate(cells):
        cell["id"] = f"g{index:03d}"
    post = {"title": "A gallery", "date": "2026-01-03", "slug": "gallery", "lang": "ko"}
    return new_notebook(cells=cells, metadata={"post": post})
