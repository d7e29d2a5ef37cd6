"""Every law of the house style catches its fault: the small notebook, broken in one place."""

import copy

import nbformat
import pytest

from tests.conftest import source
from tools import house, notebooks


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The small notebook, executed once."""
    path = tmp_path_factory.mktemp("house") / "01_one.md"
    path.write_text(source(), encoding="utf-8")
    result = notebooks.execute(path)
    assert result.error == ""
    return result.notebook


@pytest.fixture
def small(executed):
    """A copy of the executed notebook for each test to break."""
    return copy.deepcopy(executed)


def faults(notebook) -> list[str]:
    return house.violations(notebook, "01_one", ["01_one"])


# -- ways to break it ----------------------------------------------------------------------------


def find(notebook, text):
    return next(cell for cell in notebook.cells if text in cell.source)


def swap(old, new):
    def mutate(notebook):
        cell = find(notebook, old)
        cell.source = cell.source.replace(old, new)

    return mutate


def repeat(text, times):
    def mutate(notebook):
        i = notebook.cells.index(find(notebook, text))
        notebook.cells[i:i] = [copy.deepcopy(notebook.cells[i]) for _ in range(times)]

    return mutate


def drop(text):
    return lambda notebook: notebook.cells.remove(find(notebook, text))


def lengthen(notebook):
    for _, cell in house.code(notebook.cells):
        cell.source = "\n".join(["a = 1"] * 9)


def figure(change):
    """Change the cell that shows the figure."""
    return lambda notebook: change(find(notebook, "display(Image"))


def printing(change):
    """Change the cell that prints."""
    return lambda notebook: change(find(notebook, "s = one"))


def prints(text):
    return printing(lambda cell: cell.outputs[0].update(text=text))


def leaves(kind, **parts):
    return printing(lambda cell: cell.update(outputs=[nbformat.v4.new_output(kind, **parts)]))


A_FIGURE = {"image/png": {"alt": "A figure."}}

MUTATIONS = {
    "a title that asks nothing": (swap("one and one?", "one and one"), "not a question"),
    "aims left out": (swap("You will be able to add.", ""), "what you will be able to do"),
    "needs left out": (swap("You need two fingers", "Two fingers"), "what you need"),
    "minutes left out": (swap("3 minutes", "a while"), "the minutes it takes"),
    "no figure on the first screen": (drop("display(Image"), "no figure in the first eight"),
    "a link to no notebook": (swap("Step 0", "[x](09_x.ipynb)"), "09_x.ipynb, which does not"),
    "too many cells": (repeat("Step 1", 30), "cells; from 20 to 45"),
    "a long code cell": (swap("assert s + 0 == 2", "\n".join(["a = 1"] * 21)), "21 lines of code"),
    "long code cells": (lengthen, "median code cell of 9 lines"),
    "a long setup": (swap("one = 1.0", "\n".join(["one = 1.0"] * 7)), "a setup cell of 10"),
    "a magic": (swap("assert s + 0 == 2", "%time s"), "not plain Python"),
    "a forbidden word": (swap("Step 0", "Simply step"), "the word 'simply'"),
    "an eqref": (swap("Step 0", r"See \eqref{x}"), "eqref"),
    "a lost reference mark": (swap("Step 0", "See ???"), "???"),
    "a bare environment": (swap("Step 0", "\\begin{align}x\\end{align}"), "bare environment"),
    "no prediction": (swap("**Predict.**", "Guess."), "no prediction"),
    "a reference to nothing": (swap("(#eq-1)", "(#eq-2)"), "#eq-2, which does not exist"),
    "a tag unlike its anchor": (swap(r"\tag{1}", r"\tag{2}"), r"anchor eq-1 stands above \tag{2}"),
    "a tag without anchor": (swap('<a id="eq-1"></a>', ""), r"\tag without"),
    "no blank line before $$": (swap('"></a>\n\n$$', '"></a>\n$$'), r"\tag without"),
    "an anchor twice": (repeat("The sum is", 1), "eq-1 is there twice"),
    "a takeaway nobody asserts": (
        swap("### Exercise 1", "## New\n\n**So it is.**\n\n### Exercise 1"),
        "no cell above it asserts the takeaway 'So it is.'",
    ),
    "a second takeaway nobody asserts": (
        swap("### Exercise 2: ", "**So it is.**\n\n### Exercise 2: "),
        "no cell above it asserts the takeaway 'So it is.'",
    ),
    "a takeaway with more in its paragraph": (
        swap("**One and one is two.**", f"**One and {'one and ' * 9}one is eleven.** So."),
        "a takeaway and more in one paragraph: 'One and one",
    ),
    "too few asserts": (swap("assert s + 0 == 2", "s"), "7 asserts; at least 8"),
    "no break it": (swap("## Break it", "## Mend it"), "no section '## Break it'"),
    "no references": (swap("## References", "## Others"), "fewer than two entries"),
    "a bare reference": (
        swap(" and B. Russell (1910), Principia Mathematica: the long way to the same", ""),
        "no year or",
    ),
    "no equation named": (swap("eq. (1)", "it"), "no entry names an equation number"),
    "counts stripped": (printing(lambda cell: cell.update(execution_count=None)), "are not 1.."),
    "a stored error": (leaves("error", ename="E", evalue="e"), "an error is stored"),
    "a warning on stderr": (leaves("stream", name="stderr", text="mind"), "writes to stderr"),
    "a bare expression": (
        leaves("execute_result", data={"text/plain": "2"}),
        "ends with a bare expression",
    ),
    "a path printed": (prints("in /usr/lib/x.py"), "an absolute path: '/usr/lib/x.py'"),
    "an address printed": (prints("<f at 0x7f34a1b2c3>"), "a memory address"),
    "alt text dropped": (figure(lambda cell: cell.outputs[0].update(metadata={})), "got ''"),
    "alt text that says nothing": (
        figure(lambda cell: cell.outputs[0].update(metadata=A_FIGURE)),
        "got 'A figure.'",
    ),
    "no caption": (figure(lambda cell: cell.outputs.pop(1)), "a figure without a caption"),
    "too many figures": (
        figure(lambda cell: cell.update(outputs=cell.outputs * 8)),
        "8 figures; at most 7",
    ),
    "an exercise without check": (drop("expected 2.0"), "exercises: expected heading"),
    "one exercise only": (swap("### Exercise 2: ", "### More: "), "exercises: expected heading"),
}


def test_the_small_notebook_has_no_fault(small):
    assert faults(small) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_is_caught(small, name):
    mutate, message = MUTATIONS[name]
    mutate(small)
    assert any(message in fault for fault in faults(small)), faults(small)


# -- the short post: number 00 has a smaller law ---------------------------------------------------


def post_faults(notebook) -> list[str]:
    return house.violations(notebook, "00_zero", ["00_zero", "01_one", "02_two"])


@pytest.fixture
def post(small):
    """The small notebook without what a post has no room for, and with links to the others."""
    keep = small.cells.index(find(small, "### Exercise 1"))
    small.cells[keep : small.cells.index(find(small, "## What to remember"))] = []
    for _, cell in list(house.code(small.cells))[3:]:
        cell.metadata["tags"] = ["hide-input"]
    swap("## In practice\n\nUse `+`.", "[One](01_one.ipynb), [two](02_two.ipynb).")(small)
    return small


POST_MUTATIONS = {
    "a fourth open cell": (
        lambda post: find(post, "s + 0 ==").metadata.pop("tags"),
        "4 code cells that do not fold; at most 3",
    ),
    "a fifth figure": (
        figure(lambda cell: cell.update(outputs=cell.outputs * 5)),
        "5 figures; at most 4",
    ),
    "an exercise": (
        lambda post: find(post, "s + 0 ==").metadata.update(tags=["exercise", "hide-input"]),
        "1 exercises; from 0 to 0",
    ),
    "too many cells": (repeat("Step 1", 9), "cells; from 8 to 25"),
    "a notebook not named": (swap("(02_two.ipynb)", ""), "no link to the notebook 02_two.ipynb"),
    "nothing to remember": (swap("## What to", "## What not to"), "no section '## What to"),
    "too few asserts": (swap("assert s + 0 == 2", "s"), "7 asserts; at least 8"),
}


def test_a_post_without_a_fault(post):
    assert post_faults(post) == []


@pytest.mark.parametrize("name", POST_MUTATIONS)
def test_a_fault_of_a_post_is_caught(post, name):
    mutate, message = POST_MUTATIONS[name]
    mutate(post)
    assert any(message in fault for fault in post_faults(post)), post_faults(post)


def test_the_chain_of_long_notebooks_leaves_the_post_out(small):
    order = ["00_zero", "01_one", "02_two"]
    assert house.violations(small, "01_one", order) == ["no link to the next notebook 02_two.ipynb"]
