"""The ways to install agree: pyproject.toml, environment.yml, requirements/*.txt, CI workflow.

No solver is asked, so that the test needs no network: names and version bounds are compared.
"""

import ast
import copy
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from tools import setup

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
CONDA_NAMES = {"matplotlib": "matplotlib-base", "playwright": "playwright-python"}
PIP_ONLY = {"django-static-mathjax"}  # no conda channel has it


def group(name: str) -> list[Requirement]:
    """The requirements of a dependency group with the groups it includes."""
    found = []
    for entry in PROJECT["dependency-groups"][name]:
        found += group(entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)]
    return found


def wanted(*groups: str) -> dict[str, SpecifierSet]:
    """Name -> version bounds of the library and of dependency groups."""
    found = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    for name in groups:
        found += group(name)
    return {canonicalize_name(r.name): r.specifier for r in found}


# -- environment.yml -----------------------------------------------------------------------------


def environment_faults(environment: dict) -> list[str]:
    """How an environment.yml departs from pyproject.toml."""
    faults = []
    if set(environment) != {"name", "channels", "dependencies"}:
        faults.append(f"keys: {sorted(environment)}")
    if environment.get("channels") != ["conda-forge"]:
        faults.append(f"channels: {environment.get('channels')}")
    listed = [e for e in environment["dependencies"] if isinstance(e, str)]
    pip = [e["pip"] for e in environment["dependencies"] if isinstance(e, dict)]
    given = {Requirement(text).name: Requirement(text).specifier for text in listed}
    python = given.pop("python", None)
    if python != SpecifierSet(PROJECT["project"]["requires-python"]):
        faults.append(f"python: {python}")
    if len(pip) != 1 or given.pop("pip", None) is None or "-e ." not in pip[0]:
        return [*faults, "pip: expected pip and one pip section with -e ."]
    by_pip = {r.name: r.specifier for r in map(Requirement, set(pip[0]) - {"-e .", "-e ./blog"})}
    for name, bounds in wanted("test", "lab").items():
        source = by_pip if name in PIP_ONLY else given
        found = source.pop(CONDA_NAMES.get(name, name), None)
        if found != bounds:
            faults.append(f"{name}: expected {bounds}, got {found}")
    return faults + [f"not in pyproject.toml: {name}" for name in [*given, *by_pip]]


def test_environment_yml_says_what_pyproject_says():
    assert environment_faults(ENVIRONMENT) == []


def without(prefix):
    return lambda e: e.update(
        dependencies=[d for d in e["dependencies"] if not str(d).startswith(prefix)]
    )


@pytest.mark.parametrize(
    ("mutate", "fault"),
    [
        (lambda e: e["channels"].append("defaults"), "channels"),
        (lambda e: e.update(prefix="somewhere"), "keys"),
        (lambda e: e["dependencies"].append("torch"), "not in pyproject.toml: torch"),
        (without("numpy"), "numpy: expected >=1.26, got None"),
        (lambda e: e["dependencies"].insert(0, "numpy>=1.20"), None),
        (lambda e: e["dependencies"][-1]["pip"].remove("-e ."), "pip"),
        (without("pip"), "pip"),
        (without("python"), "python"),
        (without("matplotlib"), "matplotlib"),
    ],
)
def test_an_environment_yml_that_differs_is_caught(mutate, fault):
    environment = copy.deepcopy(ENVIRONMENT)
    mutate(environment)
    if fault is None:  # listed twice: the later one counts, so take the right one out
        without("numpy>=1.26")(environment)
        fault = "numpy: expected >=1.26, got >=1.20"
    assert any(f.startswith(fault) for f in environment_faults(environment))


# -- requirements/*.txt --------------------------------------------------------------------------


def lock_faults(text: str, group: str) -> list[str]:
    """What is wrong with a lock: hashes, hosts, paths, and one fitting pin for every Python."""
    faults = []
    for pattern in (
        r"://",
        r"--(extra-)?index",
        r"--find-links",
        r"\s@\s",
        r"(^|\s)(/|\./|-e\s|file:)",
    ):
        faults += [
            f"not portable: {line}" for line in text.splitlines() if re.search(pattern, line)
        ]
    entries = [e for e in re.sub(r"\\\n", "", text).splitlines() if e and e[0] not in "#-"]
    pins = []
    for entry in entries:
        requirement, *hashes = re.split(r"\s+--hash=", entry.strip())
        if not hashes or not all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes):
            faults.append(f"no sha256 hash: {requirement}")
        pins.append(Requirement(requirement))
    for python in PYTHONS:
        machine = default_environment() | {
            "python_version": python,
            "python_full_version": f"{python}.0",
        }
        here = [p for p in pins if p.marker is None or p.marker.evaluate(machine)]
        for name, bounds in wanted(group).items():
            fitting = [p for p in here if canonicalize_name(p.name) == name]
            if name == "tomli" and python != "3.10":
                continue
            if len(fitting) != 1:
                faults.append(f"Python {python}: {len(fitting)} pins of {name}")
            elif not re.fullmatch(r"==[^,*]+", str(fitting[0].specifier)):
                faults.append(f"not pinned: {fitting[0]}")
            elif not bounds.contains(str(fitting[0].specifier)[2:]):
                faults.append(f"Python {python}: {fitting[0]} is not {bounds}")
    return faults


@pytest.mark.parametrize("group", ["test", "lab"])
def test_the_locks_fit_pyproject_on_every_python(group):
    assert (
        lock_faults((ROOT / "requirements" / f"{group}.txt").read_text(encoding="utf-8"), group)
        == []
    )


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("tqdm==", "tqdm>=", "not pinned: tqdm"),
        ("autograd==1", "autograd==0", "Python 3.10: autograd==0"),
        ("tqdm==", "tqdn==", "Python 3.10: 0 pins of tqdm"),
        ("sha256:", "md5:", "no sha256 hash"),
        ("# This", "--find-links x\n# This", "not portable"),
        ("# This", "# https://somewhere\n# This", "not portable"),
        ("# This", "-e .\n# This", "not portable"),
    ],
)
def test_a_lock_that_does_not_fit_is_caught(old, new, fault):
    text = (ROOT / "requirements" / "test.txt").read_text(encoding="utf-8")
    assert old in text
    assert any(f.startswith(fault) for f in lock_faults(text.replace(old, new), "test"))


def test_jupyterlab_stays_out_of_the_test_environment():
    assert "jupyterlab==" not in (ROOT / "requirements" / "test.txt").read_text(encoding="utf-8")


# -- the rest of the house -----------------------------------------------------------------------


def test_ci_runs_every_python_there_is_a_lock_for():
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    )
    assert tuple(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) == PYTHONS
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    assert PYTHONS == tuple(f"3.{minor}" for minor in sorted(setup.MINORS))


def workflow_faults(folder: Path) -> str:
    """What zizmor finds: unpinned actions, wide permissions, expressions in shell lines."""
    zizmor = shutil.which("zizmor", path=sysconfig.get_path("scripts"))
    how = ["--offline", "--strict-collection", "--no-progress", "--format", "plain"]
    found = subprocess.run([zizmor, *how, folder], capture_output=True, encoding="utf-8")
    return found.stdout + found.stderr if found.returncode else ""


def test_the_ci_workflow_is_pinned_and_permits_little():
    assert workflow_faults(ROOT / ".github") == ""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (r"@[0-9a-f]{40} # v[0-9.]+", "@v7", "unpinned-uses"),
        ("contents: read", "contents: write", "excessive-permissions"),
        (r"with:\n *persist-credentials: false", "", "artipacked"),
        (r"bash \.ci/run", "echo ${{ github.head_ref }}", "template-injection"),
        ("runs-on: ubuntu-latest", "", "validation schema"),
    ],
)
def test_a_careless_workflow_is_caught(tmp_path, old, new, fault):
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    changed = re.sub(old, new, text)
    assert changed != text
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "ci.yml").write_text(changed, encoding="utf-8")
    assert fault in workflow_faults(tmp_path / ".github")


def shown_by(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def test_both_readmes_show_the_same_code():
    assert shown_by("README.ko.md") == shown_by("README.md")


@pytest.mark.slow
def test_the_code_of_the_readme_runs(tmp_path):
    blocks = shown_by("README.md")
    assert blocks, "README.md shows no Python"
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_layout_and_lint(command):
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    done = subprocess.run(ruff, capture_output=True, encoding="utf-8", cwd=ROOT)
    assert done.returncode == 0, done.stdout


# -- on any machine ------------------------------------------------------------------------------


def listed(*patterns: str) -> list[Path]:
    """The files of this checkout, without what tools made; no git is asked, there may be none."""
    folders = [
        p for p in ROOT.iterdir() if p.is_dir() and p.name[:5] not in ("build", ".venv", ".git")
    ]
    found = [path for folder in folders for pattern in patterns for path in folder.rglob(pattern)]
    return [*found, *(path for pattern in patterns for path in ROOT.glob(pattern))]


def without_encoding(source: str) -> list[int]:
    """The lines that read or write text in whatever encoding the machine prefers."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        given = len(node.args) + (name == "read_text")
        binary = any("b" in str(getattr(a, "value", "")) for a in node.args[1:])
        if name in ("read_text", "write_text"):
            missing = given < 2
        else:
            missing = name == "open" and isinstance(node.func, ast.Name) and not binary
        if missing and not any(keyword.arg == "encoding" for keyword in node.keywords):
            lines.append(node.lineno)
    return lines


@pytest.mark.slow
def test_files_are_read_and_written_as_utf_8_whatever_the_locale():
    found = {path: without_encoding(path.read_text("utf-8")) for path in listed("*.py")}
    assert len(found) > 50
    assert {str(path): lines for path, lines in found.items() if lines} == {}


def test_a_file_of_an_unsaid_encoding_is_caught():
    said = 'p.read_text("utf-8"), p.write_text(a, "utf-8"), open(p, "rb"), p.open("rb")'
    assert without_encoding(f'{said}, open(p, encoding="utf-8")') == []
    assert without_encoding("p.read_text()\np.write_text(a)\nopen(p)\nopen(p, 'w')") == [1, 2, 3, 4]


def test_line_ends_are_the_same_in_every_checkout():
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text("utf-8").splitlines()
    for path in listed("*.py", "*.md", "*.toml", "*.yml", "*.json"):
        assert b"\r" not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["tests", "notebooks", "tools"])
def test_a_stray_package_of_the_same_name_is_not_ours(tmp_path, name):
    """Some distributions install a top-level package `tests`; a folder of ours must outweigh it."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    found = subprocess.run(
        [sys.executable, "-c", f"import {name}; print({name}.__path__[0])"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert Path(found.stdout.strip()) == ROOT / name


def test_every_folder_of_tests_is_a_package():
    for path in listed("test_*.py"):
        for folder in path.relative_to(ROOT).parents[:-1]:
            assert (ROOT / folder / "__init__.py").exists(), folder
