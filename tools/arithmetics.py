"""Execute notebooks in many arithmetics, list what differs: python -m tools.arithmetics [03 04 ...]

Kernels of OpenBLAS, instruction sets and versions of NumPy, and Pythons all round differently.
This machine plays the others that it can: each line of the table is an environment, a cell, what
was printed there, and a verdict. It takes minutes an environment, so it is started by hand.
With pyenv, PYENV_VERSION=3.10.13:3.11.7:3.12.1 makes several Pythons visible at once.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools import address, notebooks, pairs, setup

HOME = setup.ROOT / "build" / "arithmetics"  # an environment a Python
# Processors as (kernel of OpenBLAS, NumPy's newest instructions); None leaves what is there.
PROCESSORS = {
    "this one": (None, "AVX512"),
    "SkylakeX, AVX-512": ("SkylakeX", "AVX512"),
    "Haswell, AVX2": ("Haswell", "AVX2"),
    "Zen, AVX2": ("Zen", "AVX2"),
    "Sandybridge, SSE4": ("Sandybridge", "SSE4"),
    "Prescott, SSE4": ("Prescott", "SSE4"),
}
BEYOND = {
    "AVX512": (),
    "AVX2": ("AVX512", "X86_V4"),
    "SSE4": ("AVX", "FMA", "F16C", "X86_V3", "X86_V4"),
}
OLDEST = ("autograd", "matplotlib", "numpy", "scikit-learn", "scipy")  # what can change a number
FEATURES = (
    "import json, numpy; core = getattr(numpy, '_core', None) or numpy.core; "
    "c = core._multiarray_umath; print(json.dumps([numpy.__version__, "
    "[f for f in c.__cpu_dispatch__ if c.__cpu_features__.get(f)]]))"
)


def python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environments() -> Iterator[Path]:
    """Make, once, an environment for every Python that is there, and one with the oldest bounds."""
    requirements, there = setup.ROOT / "requirements" / "test.txt", []
    for minor in setup.MINORS:
        answer = setup.ask([f"python3.{minor}"])
        if answer and answer[:2] == ((3, minor), True):
            there.append((f"python3.{minor}", answer[2]))
    for name, executable in [*there, *(("oldest", path) for _, path in there[-1:])]:
        folder, temporary = HOME / name, HOME / "temporary"
        if not (folder / ".ready").exists():
            print(f"Making {folder.relative_to(setup.ROOT)} ...", flush=True)
            temporary.mkdir(parents=True, exist_ok=True)
            setup.remove(folder)
            setup.fill(folder, requirements, executable, str(temporary))
            if name == "oldest":
                pip = [str(python_of(folder)), "-m", "pip", "install", "--quiet", *oldest_bounds()]
                if not setup.call(pip, str(temporary)):
                    raise setup.Refusal("pip could not install the oldest versions")
            (folder / ".ready").touch()
        yield folder


def oldest_bounds() -> list[str]:
    """numpy==1.26 and so on: the lower bounds of pyproject.toml, met exactly."""
    project = address.project()
    listed = [*project["project"]["dependencies"], *project["dependency-groups"]["notebooks"]]
    bounds = dict(re.match(r"([\w-]+)>=([\w.]+)|", entry).groups() for entry in listed)
    return [f"{name}=={bounds[name]}" for name in OLDEST]


def variables(python: Path, kernel: str | None, newest: str) -> tuple[str, dict[str, str] | None]:
    """NumPy's version there, and what makes this processor play another one, None if it cannot."""
    done = subprocess.run([python, "-c", FEATURES], capture_output=True, text=True, check=True)
    version, features = json.loads(done.stdout)
    if kernel and newest == "AVX512" and not any(f.startswith(BEYOND["AVX2"]) for f in features):
        return version, None
    off = [feature for feature in features if feature.startswith(BEYOND[newest] or "-")]
    made = dict(os.environ, NPY_DISABLE_CPU_FEATURES=" ".join(off))
    made.pop("OPENBLAS_CORETYPE", None)
    return version, made | ({"OPENBLAS_CORETYPE": kernel} if kernel else {})


def differences(name: str) -> list[tuple[int, str, str]]:
    """Cells of a notebook that print another thing here than is committed: index, here, there."""
    source, committed = pairs.FOLDER / f"{name}.md", pairs.load(pairs.FOLDER / f"{name}.ipynb")
    if not pairs.same_code(pairs.read(source), committed):
        sys.exit(f"{name}.ipynb: expected the cells of {name}.md; run make notebooks")
    done, found = notebooks.execute(source, keep_going=True), []
    if done.error:
        sys.exit(f"{name}: {done.error}")
    for i, (here, there) in enumerate(zip(done.notebook.cells, committed.cells, strict=True)):
        if printed(here) != printed(there):
            found.append((i, printed(here), printed(there)))
    return found


def printed(cell) -> str:
    outputs = cell.get("outputs", [])
    return "".join(
        o.get("text", "") or f"{o.ename}: {o.evalue}" for o in outputs if "data" not in o
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.arithmetics", description=__doc__)
    parser.add_argument("numbers", nargs="*", help="such as 03 04; none means every notebook")
    parser.add_argument("--here", action="store_true", help="in this environment only, as JSON")
    given = parser.parse_args()
    names = [s.stem for s in pairs.sources() if not given.numbers or s.stem[:2] in given.numbers]
    if given.here:
        print(json.dumps({name: differences(name) for name in names}))
        return 0
    failed = passed = 0
    print("| environment | cell | here, against the committed | verdict |\n|---|---|---|---|")
    for folder in environments():
        for processor, (kernel, newest) in PROCESSORS.items():
            python = python_of(folder)
            version, there = variables(python, kernel, newest)
            where = f"{folder.name}, NumPy {version}, {processor}"
            if there is None:
                print(f"| {where} | none | | this processor cannot play it |", flush=True)
                continue
            command = [python, "-m", "tools.arithmetics", "--here", *(n[:2] for n in names)]
            done = subprocess.run(command, cwd=setup.ROOT, env=there, stdout=subprocess.PIPE)
            rows = [
                f"{name[:2]}, {i} | {got.strip()!r}, {said.strip()!r} | DIFFERS"
                for name, found in json.loads(done.stdout or "{}").items()
                for i, got, said in found
            ]
            failed += bool(rows or done.returncode)
            passed += not (rows or done.returncode)
            rows = rows or ["all | | equal" if done.returncode == 0 else "none | it ended | FAILED"]
            print("\n".join(f"| {where} | {row} |" for row in rows), flush=True)
    print(f"\n{passed} of {passed + failed} environments print what is committed.")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except setup.Refusal as problem:
        sys.exit(f"{problem}.")
