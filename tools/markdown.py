"""Markdown that programs write: tables, templates, and what stands between two markers."""

from collections.abc import Iterable
from pathlib import Path

import jinja2


def table(head: Iterable[str], rows: Iterable[Iterable[str]], numbers: bool = False) -> str:
    """A Markdown table; with `numbers` every column but the first is aligned to the right.

    >>> print(table(["", "KL"], [["|a|", "0.1"]], numbers=True))
    |  | KL |
    | --- | --: |
    | \\|a\\| | 0.1 |
    """
    head = list(head)
    rule = ["---"] + ["--:" if numbers else "---"] * (len(head) - 1)
    cells = [[str(cell).replace("|", r"\|") for cell in row] for row in (head, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [cells[0], rule, *cells[1:]])


def render(template: str | Path, **names: object) -> str:
    """The text of a Jinja template, which may use `table` and the names; one newline ends it."""
    template = Path(template)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(table=table, **names).rstrip() + "\n"


def between(text: str, begin: str, end: str, content: str, name: str) -> str:
    """The text with what is between two markers replaced by the content.

    Errors: ValueError, with the file's name, unless each marker is there once, and in order.

    >>> between("a <b> old <e> z", "<b>", "<e>", "new", "README")
    'a <b>\\nnew\\n<e> z'
    """
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{name}: expected one {begin} and after it one {end}, got another order")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{content.strip()}\n{end}{rest.split(end)[1]}"
