"""Every public name says what it is in one sentence, what it raises, its source, and shows it.

That what the doctests show is true is proved where they run; here their parts are counted.
"""

import importlib
import inspect
import re

import pytest

DOORS = ("nflib_min", "nflib_min.targets", "nflib_min.amortized", "nflib_min.posterior")
# the files that README's table names: what they define is public, too
FILES = (
    *("bijections", "planar", "radial", "coupling", "flow", "distributions", "continuous"),
    *("diffusions", "objectives", "training", "weights", "constraints", "checks", "networks"),
)
ALL = {"sentence", "errors", "source", "doctest"}
EXEMPT = {
    "flow.dtype_of": (ALL, "a helper of maps and losses, of one line"),
    "weights.checked": (ALL, "a check of arguments, which its callers' docstrings describe"),
    "constraints.check_fixed": (ALL, "a check of arguments"),
    "constraints.Constraint": ({"doctest", "source"}, "abstract: its maps show it"),
}


def public():
    """{name: object} of what the doors export and the files define."""
    found, seen = {}, set()
    for door in DOORS:
        module = importlib.import_module(door)
        found |= {f"{door}.{name}": getattr(module, name) for name in module.__all__}
    seen = set(map(id, found.values()))
    for file in FILES:
        module = importlib.import_module(f"nflib_min.{file}")
        for name, thing in vars(module).items():
            here = getattr(thing, "__module__", "") == module.__name__
            code = inspect.isclass(thing) or inspect.isfunction(thing)
            if code and here and name[0] != "_" and id(thing) not in seen:
                found[f"{file}.{name}"] = thing
    return found


def docs_of(thing):
    """Its docstring, and for a class those of its own methods."""
    methods = vars(thing).values() if inspect.isclass(thing) else []
    return inspect.getdoc(thing), "\n".join(filter(None, [thing.__doc__, *map(doc, methods)]))


def doc(method):
    return getattr(method, "__doc__", None) if callable(method) else None


def raised(source):
    """The exceptions that a source raises itself, or by a check of its arguments."""
    source = re.sub(r'r?""".*?"""|(def|class) \w+', "", source, flags=re.S)
    by_checks = {"ValueError"} if re.search(r"\b_?check(ed)?(_\w+)?\(", source) else set()
    found = set(re.findall(r"raise ([A-Z]\w+)", source)) | by_checks
    return found - {"NotImplementedError", "KeyboardInterrupt"}


def missing(thing):
    """What the docstring of a public name lacks."""
    text, everything = docs_of(thing)
    if not text:
        return set(ALL)
    first = " ".join(text.partition("\n\n")[0].split())
    faults = set()
    if first[-1] not in ".:" or re.search(r"\. [A-Z]", first) or len(first) > 200:
        faults.add("sentence")
    if not all(error in everything for error in raised(inspect.getsource(thing))):
        faults.add("errors")
    source = re.search(r"Source: (.*?)(?:\n\n|\Z)", text, re.S)
    # a paper with its year, another docstring, or what nobody wrote before
    if not source or not re.search(r"\d{4}|`\w+`|this project", source[1]):
        faults.add("source")
    if ">>>" not in text:
        faults.add("doctest")
    return faults


@pytest.mark.parametrize("name", public())
def test_a_public_name_is_documented(name):
    exempt, _ = EXEMPT.get(name, (set(), ""))
    assert missing(public()[name]) <= exempt, missing(public()[name])


def test_an_exemption_is_needed_and_has_a_reason():
    for name, (exempt, reason) in EXEMPT.items():
        assert missing(public()[name]) & exempt and len(reason) > 10


def good(x):
    """Twice x.

    ValueError if x is negative.

    >>> good(1)
    2

    Source: Euclid (1956).
    """
    if x < 0:
        raise ValueError("x: expected a number >= 0")
    return 2 * x


@pytest.mark.parametrize(
    "part, broken, fault",
    [
        ("Twice x.", "Twice x. Or so.", "sentence"),
        ("Twice x.", "Twice x", "sentence"),
        ("ValueError", "Trouble", "errors"),
        (">>> good", "good", "doctest"),
        ("1956", "long ago", "source"),
        ("Source", "From", "source"),
    ],
)
def test_each_part_is_missed(monkeypatch, part, broken, fault):
    assert missing(good) == set()
    monkeypatch.setattr(good, "__doc__", good.__doc__.replace(part, broken))
    assert missing(good) == {fault}
