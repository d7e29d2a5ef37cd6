"""Solutions of exercises, kept in a file solutions.py beside the notebooks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from nbformat import NotebookNode

from .problems import Problems


def solutions(
    notebook: Path, cells: Iterable[tuple[int, NotebookNode]], problems: Problems
) -> dict[int, tuple[str, str]]:
    """Exercise and solution by the number of the cell after which the solution stands.

    It is the last code cell of the exercise that has one of the tags exercise and check.
    """
    known = _file(notebook)
    if known is None:
        return {}
    exercise, last = None, {}
    for number, cell in cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            # the number in the nearest heading above, whatever the language calls an exercise
            headings = re.findall(r"(?m)^#{2,6}\s+\D*?(\d+)", cell.source)
            exercise = headings[-1] if headings else exercise
        elif exercise and ("exercise" in tags or "check" in tags):
            last[exercise] = number, problems.where
    for exercise, (_, where) in last.items():
        if exercise not in known:
            problems.where = where
            problems.error(f"exercise {exercise} has no solution in solutions.py")
    return {last[exercise][0]: (exercise, known[exercise]) for exercise in last.keys() & known}


def _file(notebook: Path) -> dict[str, str] | None:
    """The solutions of one notebook, {exercise: source}, from its folder or the one above.

    None without such a file.  In it stands a dictionary {notebook: {exercise: source}}, which is
    read as a literal: no foreign code is run.
    """
    for folder in (notebook.parent, notebook.parent.parent):
        file = folder / "solutions.py"
        if not file.is_file():
            continue
        for node in ast.parse(file.read_text("utf-8")).body:
            value = getattr(node, "value", None)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(value, ast.Dict):
                table = ast.literal_eval(value)
                return {str(k): v.strip("\n") for k, v in table.get(notebook.stem, {}).items()}
    return None
