"""What it takes to begin: seconds to import a library, megabytes to install it."""

import re
from importlib import metadata

from packaging.requirements import Requirement

from benchmarks import driver

IMPORTS = {
    "python": "pass",
    "ours": "import nflib_min, nflib_min.objectives, nflib_min.targets, nflib_min.training",
    "torch": "import torch",
    "normflows": "import normflows",
    "nflows": "import nflows.flows, nflows.transforms, nflows.distributions",
    "zuko": "import zuko",
    "pyro": "import pyro.distributions",
    "jax": "import jax",
    "flowjax": "import flowjax.flows, flowjax.train",
}
ENVIRONMENTS = {
    "torch": ["torch"],
    "normflows": ["normflows"],
    "nflows": ["nflows"],
    "zuko": ["zuko"],
    "pyro": ["pyro-ppl"],
    "jax": ["jax"],
    "flowjax": ["flowjax"],
}


def measure(rounds: int) -> dict:
    """Import times over rounds in turn, and the sizes of what each library needs."""
    imports = {name: [] for name in IMPORTS}
    for r in range(-1, rounds):  # the first round warms the file system's cache
        for name, code in IMPORTS.items():
            seconds = driver.run(["-c", code])
            if r >= 0:
                imports[name].append(seconds)
    environments = {"ours": own_requirements(), **ENVIRONMENTS}
    own = sum(p.stat().st_size for p in (driver.ROOT / "nflib_min").glob("*.py"))
    installed = {}
    for name, roots in environments.items():
        packages = closure(roots)
        sizes = {package: size(package) for package in sorted(packages)}
        if name == "ours":
            sizes["nflib_min"] = own
        installed[name] = {"bytes": sum(sizes.values()), "packages": sizes}
    return {"cell": {"kind": "footprint"}, "imports": imports, "installed": installed}


def own_requirements() -> list[str]:
    """The dependencies in pyproject.toml, by name."""
    text = (driver.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL).group(1)
    return [Requirement(quoted).name for quoted in re.findall(r'"([^"]+)"', listed)]


def closure(names: list[str]) -> set[str]:
    """The distributions that these need, themselves included, extras left out."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def size(name: str) -> int:
    """Bytes of a distribution's files as its record lists them, compiled caches left out."""
    files = metadata.files(name) or []
    return sum(
        file.locate().stat().st_size
        for file in files
        if file.suffix != ".pyc" and file.locate().is_file()
    )
