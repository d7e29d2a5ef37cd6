"""Imports run one way: the heart to NumPy and autograd, notebooks to the library and one door."""

import ast
import re
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tools import pairs

LIBRARY = ROOT / "nflib_min"
ROOMS = {"nflib_min", "notebooks", "reproduce", "benchmarks", "blog", "live", "tools", "tests"}
HEART = {*sys.stdlib_module_names, "numpy", "autograd"}
WINGS = {f"nflib_min.{wing}" for wing in ("targets", "amortized", "posterior", "fast")}
CORE = {f"nflib_min.{path.stem}" for path in LIBRARY.glob("*.py")} - {"nflib_min.plotting"}


def imported(source: str) -> set[str]:
    """What a program imports when it is loaded, as module or module.name."""
    body = ast.parse(source).body
    plain = {a.name for node in body if isinstance(node, ast.Import) for a in node.names}
    froms = [node for node in body if isinstance(node, ast.ImportFrom)]
    return plain | {f"{node.module}.{a.name}" for node in froms for a in node.names}


def strangers(names: set[str], allowed: set[str]) -> set[str]:
    """The names that are not in, or of, an allowed module."""
    return {n for n in names if not any(f"{n}.".startswith(f"{module}.") for module in allowed)}


def code_of(path: Path) -> str:
    if path.suffix == ".py":
        return path.read_text("utf-8")
    return "\n".join(cell.source for cell in pairs.code_cells(pairs.read(path)))


def files(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def which(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


heart = [path for path in files("nflib_min/*.py") if path.stem not in ("__init__", "plotting")]
notebooks = files("notebooks/[0-9]*.md", "notebooks/ko/*.md", "notebooks/[a-z]*/*.py")


@pytest.mark.parametrize("path", heart, ids=which)
def test_the_heart_needs_numpy_and_autograd_alone(path):
    assert not strangers(imported(code_of(path)), HEART | CORE)


@pytest.mark.parametrize("path", files("nflib_min/*/*.py"), ids=which)
def test_a_wing_stands_on_the_heart_and_never_on_a_kernel(path):
    wing = f"nflib_min.{path.parent.name}"
    others = WINGS - {"nflib_min.fast"} if wing == "nflib_min.posterior" else {"nflib_min.targets"}
    allowed = HEART | CORE | {wing} | (set() if wing == "nflib_min.fast" else others)
    assert not strangers(imported(code_of(path)), allowed)


@pytest.mark.parametrize("path", notebooks, ids=which)
def test_notebooks_take_results_through_one_door(path):
    project = {name for name in imported(code_of(path)) if name.split(".")[0] in ROOMS}
    assert not strangers(project, {"nflib_min", "live", "notebooks", "reproduce.results"})


def test_the_door_needs_the_standard_library_alone():
    allowed = {*sys.stdlib_module_names, "reproduce.paper"}
    for name in ("results", "paper"):
        assert not strangers(imported(code_of(ROOT / "reproduce" / f"{name}.py")), allowed)


def test_nothing_stands_on_the_tests_and_the_library_on_no_other_room():
    for path in files(*(f"{room}/**/*.py" for room in ROOMS - {"tests"})):
        rooms = {name.split(".")[0] for name in imported(code_of(path))} & ROOMS
        assert "tests" not in rooms, which(path)
        assert LIBRARY not in path.parents or rooms <= {"nflib_min"}, which(path)


@pytest.mark.parametrize("path", files("*/*.py", "*/*/*.py", "live/*.js"), ids=which)
def test_a_file_is_read_in_one_sitting(path):
    limit = 400 if LIBRARY in path.parents else 500
    if path.parent.name != "ko" and not re.match(r"notebooks/\d", which(path)):  # those are made
        assert len(path.read_text("utf-8").splitlines()) <= limit
