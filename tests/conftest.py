"""A small notebook in the house style for the tests of the tools; it executes in a second."""

import shutil
from pathlib import Path
from textwrap import dedent

import pytest

# one white pixel
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="

HEADER = """\
---
jupyter:
  kernelspec:
    display_name: Python 3
    language: python
    name: python3
  post:
    title: How much is one and one?
---
"""


def cell(*lines: str, tag: str = "") -> str:
    tags = f' tags=["{tag}"]' if tag else ""
    return "```python{}\n{}\n```".format(tags, "\n".join(lines))


def source(links: str = "", extra: str = "") -> str:
    """The source of a notebook without a fault; `extra` goes before its closing sections."""
    parts = [
        "# How much is one and one?\n\nIt is two, and each way of adding says so.",
        f"You will be able to add. You need two fingers and 3 minutes. {links}",
        cell(
            "import base64",
            "from IPython.display import Image, Markdown, display",
            f'PIXEL = base64.b64decode("{PNG}")',
            "one = 1.0",
            tag="setup",
        ),
        cell(
            'alt = "A white pixel, which stands for any figure at all."',
            "display(Image(PIXEL, alt=alt), Markdown('*Figure. A pixel.*'))",
        ),
        "## Adding\n\n> **Predict.** What will it be?",
        dedent(
            """\
            The sum is

            <a id="eq-1"></a>

            $$
            s = 1 + 1 \\tag{1}
            $$

            which [(1)](#eq-1) says, and `s` is it."""
        ),
        cell("s = one + one", 'print(f"s = {s:.3f}")'),
    ]
    for k in range(8):
        parts += [f"Step {k}.", cell(f"assert s + {k} == {2 + k}")]
    parts += [
        "**One and one is two.**",
        extra,
        "### Exercise 1: add three\n\nWhat is one and two?",
        cell("answer = None  # your turn", tag="exercise"),
        check("3.0"),
        "### Exercise 2: add a function\n\nWrite `double`.",
        cell("def double(x):", "    return None  # your turn", tag="exercise"),
        check("2.0", "double(one)"),
        "## Break it",
        cell(
            "try:",
            '    one + "one"',
            "except TypeError as error:",
            '    print("TypeError" in repr(error))',
        ),
        "## What to remember\n\nTwo.",
        "## In practice\n\nUse `+`.",
        "## References\n\n"
        "- G. Peano (1889), Arithmetices principia: the axioms behind eq. (1), in Latin.\n"
        "- A. Whitehead and B. Russell (1910), Principia Mathematica: the long way to the same.",
    ]
    return HEADER + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def check(expected: str, given: str = "answer") -> str:
    return cell(
        f"given = {given}",
        "if given is None:",
        '    print("not attempted")',
        f"elif given == {expected}:",
        '    print("correct")',
        "else:",
        f'    print("expected {expected}, got", given)',
        tag="check",
    )


def write_sources(folder: Path) -> Path:
    folder.mkdir()
    (folder / "01_one.md").write_text(
        source("Next: [two](02_two.ipynb).", extra="Some more."), encoding="utf-8"
    )
    (folder / "02_two.md").write_text(
        source("Previous: [one](01_one.ipynb#eq-1)."), encoding="utf-8"
    )
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with two linked notebooks, not yet paired."""
    return write_sources(tmp_path / "notebooks")


@pytest.fixture(scope="session")
def paired_once(tmp_path_factory) -> Path:
    from tools import notebooks  # here, so that the library's tests need not wait for Jupyter

    folder = write_sources(tmp_path_factory.mktemp("paired") / "notebooks")
    assert notebooks.sync(folder) == 0
    return folder


@pytest.fixture
def paired(paired_once, tmp_path) -> Path:
    """The same two notebooks, paired and executed; a copy for each test to break."""
    return shutil.copytree(paired_once, tmp_path / "notebooks")
