"""A notebook in somebody else's style: several h1, \\label and \\eqref, macros of physics, pandas
tables, LaTeX and HTML outputs, text that looks like Liquid, Korean next to dollars."""

from __future__ import annotations

import base64
import io

import matplotlib
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

MARKDOWN = [
    "# 데이터 살펴보기\n\nThe plan: see [Fit a model](#Fit-a-model), [the fit](#fit-a-model) "
    "and [the other one](other.ipynb#x).",
    "밀도 $q(z|x)$는 $K$개의 $f_k$로 만든다. 값은 $5이고 $10이다. 템플릿 "
    "{{ page.title }}와 {% raw %}.\n"
    "\\begin{equation}\n\\ln q_K(z_K) = \\ln q_0(z_0) "
    "- \\sum_{k=1}^K \\ln\\left|\\det\\pdv{f_k}{z_{k-1}}\\right|\n"
    "\\label{eq:flow_k}\n\\end{equation}\n식 \\eqref{eq:flow_k}와 $\\ref{eq:later}$을 보라.",
    "# Fit a model\n\n- first $a|b$\n- then\n\n  $$\\norm{x}_2 \\coloneqq \\sqrt{x^\\top x}$$\n\n"
    '| name | $p(x|z)$ |\n|---|---|\n| `a` | $\\|x\\|$ |\n\n<div class="alert">note: $x<y$</div>\n',
    "$$\\begin{align}\n\\argmax_\\theta \\bm{\\theta} &= 1 \\label{eq:later} \\\\\n"
    "&= 2 \\notag\n\\end{align}$$",
    "<details>\n<summary>More</summary>\n\nhidden **text** $h_1$\n\n"
    "```bash\necho $HOME | cat\n```\n\n</details>",
]
# what MathJax must find, in order, from top to bottom
FORMULAS = [
    ("i", "q(z|x)"),
    ("i", "K"),
    ("i", "f_k"),
    (
        "d",
        r"\begin{equation} \ln q_K(z_K) = \ln q_0(z_0) - \sum_{k=1}^K \ln\left|\det"
        r"\frac{\partial f_k}{\partial z_{k-1}}\right| \label{eq:flow_k} \end{equation}",
    ),
    ("i", r"\eqref{eq:flow_k}"),
    ("i", r"\ref{eq:later}"),
    ("i", r"\tau = 0.5"),
    ("i", "a|b"),
    ("d", r"\lVert x \rVert _2 \mathrel{:=} \sqrt{x^\top x}"),
    ("i", "p(x|z)"),
    ("i", r"\|x\|"),
    ("i", "x<y"),
    (
        "d",
        r"\begin{align} \operatorname*{arg\,max}_\theta \boldsymbol{\theta} &= 1 \label{eq:later}"
        r" \\ &= 2 \notag \end{align}",
    ),
    ("i", r"\displaystyle \frac{x^{2}}{2}"),
    ("d", r"\int_0^1 x\,dx = \frac12"),
    ("i", "h_1"),
]
TABLE = """<div>
<style scoped>
    .dataframe tbody tr th { vertical-align: top; }
</style>
<table border="1" class="dataframe">
  <thead>
    <tr style="text-align: right;"><th></th><COLUMNS/></tr>
  </thead>
  <tbody>
    <tr><th>0</th><ROW/></tr>
  </tbody>
</table>
<p>1 rows × 14 columns</p>
</div>"""
TABLE = TABLE.replace("<COLUMNS/>", "".join(f"<th>column_{i}</th>" for i in range(14)))
TABLE = TABLE.replace("<ROW/>", "".join(f"<td>{{{{ {i} }}}} | *{i}*</td>" for i in range(14)))


def picture(kind: str = "png", **save) -> str:
    """A small plot, base64; transparent, as some people's style sheets make them."""
    figure = Figure(figsize=(4, 2.4))
    axes = figure.add_subplot()
    axes.plot([0, 1, 2], [0, 1, 4], label="$x^2$")
    axes.legend()
    buffer = io.BytesIO()
    if kind == "gif":
        from PIL import Image

        frames = []
        for end in (1, 2, 3):
            axes.set_xlim(0, end)
            step = io.BytesIO()
            figure.savefig(step, format="png", dpi=60)
            frames.append(Image.open(step).convert("P"))
        frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:], duration=300, loop=0)
    else:
        with matplotlib.rc_context({"svg.hashsalt": "fixed"}):
            figure.savefig(buffer, format=kind, **save)
    data = buffer.getvalue()
    return data.decode() if kind == "svg" else base64.b64encode(data).decode()


def shown(data: dict, **metadata) -> NotebookNode:
    return new_output("display_data", data=data, metadata=metadata)


def notebook() -> NotebookNode:
    """The notebook, executed."""
    cells = [new_markdown_cell(text) for text in MARKDOWN]
    frame = new_code_cell(
        'df = pd.read_csv("x.csv")  # {{ not liquid }}\ndf.head()',
        execution_count=1,
        outputs=[
            new_output("stream", name="stderr", text="\x1b[31mwarning\x1b[0m: 10%\r20%\r100%\n"),
            new_output(
                "execute_result",
                data={"text/html": TABLE, "text/plain": "   column_0"},
                execution_count=1,
            ),
        ],
    )
    markdown = new_code_cell(
        'display(Markdown("**done** with $\\\\tau = 0.5$"))',
        execution_count=2,
        outputs=[
            shown({"text/markdown": "**done** with $\\tau = 0.5$", "text/plain": "<Markdown>"})
        ],
    )
    latex = new_code_cell(
        "x**2 / 2",
        execution_count=7,
        outputs=[
            shown({"text/latex": "$\\displaystyle \\frac{x^{2}}{2}$", "text/plain": "x**2/2"}),
            shown({"text/latex": "$$\\int_0^1 x\\,dx = \\frac12$$", "text/plain": "<Math>"}),
        ],
    )
    plots = new_code_cell(
        "plt.plot(x, x**2)",
        execution_count=8,
        metadata={"alt": 'A parabola, "growing" <fast> 100%} {{ x }}'},
        outputs=[
            shown({"image/png": picture(transparent=True), "text/plain": "<Figure>"}),
            shown({"image/svg+xml": picture("svg"), "text/plain": "<Figure>"}),
            shown({"image/gif": picture("gif"), "text/plain": "<Image>"}),
        ],
    )
    listing = new_code_cell(
        "for key in template: print(key)",
        execution_count=9,
        outputs=[
            new_output("stream", name="stdout", text="{% for x in y %}{{ x }}{% endfor %}\n|a|b|\n")
        ],
    )
    attached = new_markdown_cell(
        "![an attached plot](attachment:plot.png)\n\n글 속의 ![작은 그림](attachment:plot.png) 그림"
    )
    attached["attachments"] = {"plot.png": {"image/png": picture()}}
    order = [
        cells[0],
        cells[1],
        frame,
        markdown,
        cells[2],
        cells[3],
        latex,
        plots,
        listing,
        attached,
        cells[4],
    ]
    for index, cell in enumerate(order):
        cell["id"] = f"f{index:03d}"
    return new_notebook(
        cells=order,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "post": {
                "title": "남의 노트북: $K$ flows",
                "date": "2026-01-03",
                "slug": "foreign",
                "lang": "ko",
                "description": "a foreign notebook",
                "tags": ["math", "code"],
            },
        },
    )
