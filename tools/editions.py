"""A notebook in another language: the same code and formulas, and the outputs of the English one.

notebooks/ko/NN_topic.md is the Korean text of notebooks/NN_topic.md: captions, alt texts and words
inside formulas are Korean too. Only the English notebook is executed. The header key `translation:
{of: DIGEST}` names the English text that was translated.
"""

import hashlib
import re
from collections import Counter

from tools import house

PARTS = re.compile(
    r"(?P<code>```.+?```|`[^`]+`)"
    r"|(?P<formula>(?<!\\)\$\$.+?\$\$|(?<!\\)\$[^$]+\$)"
    r"|\]\((?P<link>[^)\s]+)\)"
    r'|<a id="(?P<anchor>[^"]+)">'
    r"|^(?P<heading>\#+)\s",
    re.S | re.M,
)


def digest(notebook) -> str:
    """A short name for the text of a notebook, as it stands."""
    written = [c for c in notebook.cells if "address" not in c.metadata.get("tags", [])]
    text = "\0".join(cell.source for cell in written if cell.cell_type == "markdown")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_stale(english, translated) -> bool:
    """Has the English text changed since it was translated? (YAML reads digits as a number.)"""
    return str(translated.metadata.get("translation", {}).get("of")) != digest(english)


WORDS = re.compile(r"\\(text|mathrm|textrm)\{[^{}]*\}")
HANGUL = re.compile(r"[\uac00-\ud7a3]")
DESCRIPTIONS = ("alt", "caption")


def parts(text: str) -> Counter:
    """What no translation changes: code, formulas, link targets, anchors, heading levels."""
    found = Counter()
    for match in PARTS.finditer(text):
        value = " ".join(match[match.lastgroup].split())
        if match.lastgroup == "formula":
            value = WORDS.sub(r"\\\1{}", value)
        if match.lastgroup == "link" and value.startswith("../../"):
            value = value.removeprefix("../")  # an edition lies one folder deeper
        if match.lastgroup == "link" and value.startswith("https://"):
            value = re.sub(r"/notebooks/[a-z]{2}/", "/notebooks/", value)  # and opens itself
        found[match.lastgroup, value] += 1
    return found


def faults(english, translated) -> list[str]:
    """How a translation departs from its original, cell by cell."""
    kinds = [[cell.cell_type for cell in notebook.cells] for notebook in (english, translated)]
    if kinds[0] != kinds[1]:
        first = next(
            (i for i, pair in enumerate(zip(*kinds, strict=False)) if len(set(pair)) > 1),
            min(map(len, kinds)),
        )
        n = [len(k) for k in kinds]
        return [
            f"expected {n[0]} cells of the same kinds, got {n[1]}; the first difference: {first}"
        ]
    found = []
    bold = [[i for i, *_ in house.takeaways(notebook)] for notebook in (english, translated)]
    if bold[0] != bold[1]:
        found.append(f"expected takeaways (paragraphs in bold) in cells {bold[0]}, got {bold[1]}")
    for i, (a, b) in enumerate(zip(english.cells, translated.cells, strict=True)):
        if a.cell_type == "code":
            found += [f"cell {i}: {fault}" for fault in code_faults(a, b)]
        elif a.cell_type == "markdown":
            for sign, rest in (
                ("lacks", parts(a.source) - parts(b.source)),
                ("adds", parts(b.source) - parts(a.source)),
            ):
                found += [f"cell {i}: {sign} the {kind} {value}" for kind, value in sorted(rest)]
    return found


def code_faults(a, b) -> list[str]:
    """The code is the same byte for byte; alt text and caption are there, in Hangul, with the
    same formulas."""
    rest = [{k: v for k, v in c.metadata.items() if k not in DESCRIPTIONS} for c in (a, b)]
    found = ["the code differs"] if (a.source, rest[0]) != (b.source, rest[1]) else []
    for name in DESCRIPTIONS:
        english, text = a.metadata.get(name), b.metadata.get(name)
        if (english is None) != (text is None):
            found.append(f"{name}: expected in both editions or in none")
        elif text is not None and not HANGUL.search(text):
            found.append(f"{name}: expected Korean, got {text!r}")
        elif text is not None and parts(english) != parts(text):
            found.append(f"{name}: its formulas are not those of the original")
    return found
