"""The committed notebooks: house style, exercises, pairs; and that a broken pair is caught."""

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from numbers import Number

import numpy as np
import pytest

from notebooks.solutions import SOLUTIONS
from tools import house, notebooks, pairs

NAMES = [source.stem for source in pairs.sources()]


# -- the committed notebooks ---------------------------------------------------------------------


def test_the_short_post_and_the_first_four_notebooks_are_there():
    first = [
        "00_normalizing_flows",
        "01_elbo",
        "02_change_of_variables",
        "03_flow_composition",
        "04_infinitesimal_flows",
    ]
    assert NAMES[:5] == first


@pytest.mark.slow
def test_the_committed_notebooks_have_no_fault():
    assert notebooks.violations() == []


@pytest.mark.parametrize(
    ("readme", "folder"), [("README.md", ""), ("README.ko.md", "ko/")], ids=("en", "ko")
)
def test_the_readme_names_each_notebook_with_its_question_and_its_minutes(readme, folder):
    root = pairs.sources()[0].parents[1]
    rows = re.findall(
        r"^\| \[(\w+)\]\(notebooks/(?:ko/)?\w+\.ipynb\) \| (.*?) \|.*\| (\d+) \|$",
        (root / readme).read_text(encoding="utf-8"),
        re.M,
    )
    assert [name for name, _, _ in rows] == NAMES
    for name, question, minutes in rows:
        text = (root / "notebooks" / folder / f"{name}.md").read_text(encoding="utf-8")
        title = re.search(r"^# (.*)$", text, re.M)[1]
        # the short post's title begins with its subject
        assert question.lower() in title.lower(), name
        assert re.search(rf"\b{minutes} ?(minutes|분)", text), name


def test_each_takeaway_is_listed_with_the_cells_that_assert_it(paired, capsys):
    assert notebooks.takeaways(paired, ["01_one"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("\n# 01_one\n\nOne and one is two.\n  cell 6\n    assert s + 0 == 2\n")
    assert shown.endswith("    assert s + 7 == 9\n") and shown.count("  cell ") == 8


# -- exercises -----------------------------------------------------------------------------------


def exercises(notebook):
    """The setup cells as one program, and for each exercise number its stub and its check."""
    setup, found, number = "", {}, None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for n in re.findall(r"^### Exercise (\d+): ", cell.source, re.M):
                number = int(n)
        elif "setup" in house.tags(cell):
            setup += cell.source + "\n"
        elif "exercise" in house.tags(cell):
            found[number] = [cell.source]
        elif "check" in house.tags(cell):
            found[number].append(cell.source)
    return setup, found


def printed(source: str, namespace: dict) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, namespace)
    return out.getvalue().strip()


def spoiled(answer):
    """A wrong answer of the same kind as a right one."""
    if isinstance(answer, bool | np.bool_):
        return not answer
    if isinstance(answer, Number | np.ndarray):
        return answer + 1
    if isinstance(answer, str):
        return answer + "?"
    if isinstance(answer, tuple | list):
        return type(answer)(spoiled(part) for part in answer)
    if callable(answer):
        return lambda *args, **kwargs: spoiled(answer(*args, **kwargs))
    raise TypeError(f"no wrong answer is known for {type(answer).__name__}")


def judge(setup: str, stub: str, check: str, solution: str) -> tuple[str, str, str]:
    """What the check says of the untouched stub, of the solution and of a spoiled solution."""
    untouched, solved = {}, {}
    exec(setup + stub, untouched)
    exec(setup + solution, solved)
    names = bound(stub)
    assert names and names <= set(solved), f"the solution has to define {sorted(names)}"
    wrong = dict(solved) | {name: spoiled(solved[name]) for name in names}
    return printed(check, untouched), printed(check, solved), printed(check, wrong)


def bound(source: str) -> set[str]:
    """The names that a stub leaves to the reader."""
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets}
    return names


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_a_solution_and_its_check_knows_right_from_wrong(name):
    setup, found = exercises(pairs.read(pairs.FOLDER / f"{name}.md"))
    assert set(found) == set(SOLUTIONS.get(name, {}))
    for number, (stub, check) in found.items():
        untouched, right, wrong = judge(setup, stub, check, SOLUTIONS[name][number])
        assert untouched.startswith("not attempted"), (number, untouched)
        assert right.startswith("correct"), (number, right)
        assert wrong and not wrong.startswith(("correct", "not attempted")), (number, wrong)


def test_no_solution_is_left_over():
    assert set(SOLUTIONS) <= set(NAMES)


def test_a_check_that_accepts_everything_would_be_found():
    untouched, right, wrong = judge("", "answer = None", "print('correct')", "answer = 3")
    assert untouched == right == wrong == "correct"


def test_the_exercises_of_the_small_notebook_judge_numbers_and_functions(folder):
    setup, found = exercises(pairs.read(folder / "01_one.md"))
    solutions = {1: "answer = one + 2", 2: "def double(x):\n    return 2 * x"}
    for number, (stub, check) in found.items():
        untouched, right, wrong = judge(setup, stub, check, solutions[number])
        assert (untouched, right) == ("not attempted", "correct")
        assert wrong.startswith("expected")


# -- the triple: an edit to one of the three forms is caught --------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("01_one.md", "It is two", "It is three", "01_one.py: is not 01_one.md"),
        ("01_one.md", "It is two", "It is three", "01_one.ipynb: is not 01_one.md"),
        ("01_one.py", "It is two", "It is three", "01_one.py: is not 01_one.md"),
        ("01_one.ipynb", "It is two", "It is three", "01_one.ipynb: is not 01_one.md"),
        ("01_one.ipynb", "s = one + one", "s = 2", "01_one.ipynb: is not 01_one.md"),
        ("01_one.ipynb", '"id": "c002"', '"id": "x"', "01_one.ipynb: is not 01_one.md"),
        ("01_one.ipynb", '"execution_count": 3', '"execution_count": null', "are not 1.."),
    ],
)
def test_an_unsynced_pair_is_caught(paired, file, old, new, message):
    path = paired / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert any(message in v for v in notebooks.violations(paired)), notebooks.violations(paired)


def test_missing_and_orphaned_companions_are_caught(paired):
    (paired / "02_two.ipynb").unlink()
    (paired / "01_one.md").rename(paired / "03_three.md")
    found = "\n".join(notebooks.violations(paired))
    assert "02_two.ipynb: is not 02_two.md, executed" in found
    assert "01_one.py: has no source 01_one.md" in found


def test_notebooks_that_grow_too_big_are_caught(paired, monkeypatch):
    monkeypatch.setattr(notebooks, "SIZE_LIMIT", 1000)
    assert "more than 1000" in notebooks.violations(paired)[-1]


# -- nbval: a number that changes is caught -------------------------------------------------------


def nbval(path):
    """Run nbval on one notebook as `make test` does."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval",
         "--nbval-current-env", str(path)],
        capture_output=True, text=True, cwd=path.parent, env=dict(os.environ), check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_nbval_accepts_the_small_notebook_and_catches_a_changed_number(paired):
    path = paired / "01_one.ipynb"
    accepted = nbval(path)
    assert accepted.returncode == 0, accepted.stdout
    path.write_text(
        path.read_text(encoding="utf-8").replace("s = 2.000", "s = 2.001"), encoding="utf-8"
    )
    refused = nbval(path)
    assert refused.returncode == 1
    assert "s = 2.001" in refused.stdout and "s = 2.000" in refused.stdout
