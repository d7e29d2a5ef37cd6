"""The countable part of the house style: what every notebook has, checked on its executed form."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import nbformat

CODE_LINES, MEDIAN_LINES, SETUP_LINES = 20, 8, 8
ASSERTS = 8
ALT_LENGTH, ALT_SENTENCES = 30, 2

FIRST_SCREEN = {
    "what you will be able to do": r"(?i)you will be able to",
    "what you need": r"(?i)you need",
    "the minutes it takes": r"(?i)\d+ minutes",
}


@dataclass(frozen=True)
class Shape:
    """What a notebook may hold: how much of it, and its closing sections."""

    cells: range
    open_code: int  # code cells that do not fold
    figures: int
    exercises: range
    sections: tuple[str, ...]


# The guideline is 20-35; exercises with their stubs and checks may take up to ten cells more.
LONG = Shape(
    range(20, 46), 45, 7, range(2, 5), ("Break it", "What to remember", "In practice", "References")
)
# Number 00 is a post of one page, which names every other notebook.
SHORT = Shape(range(8, 26), 3, 4, range(1), ("What to remember", "References"))
FOLDED = {"hide-input", "hide-cell"}
FORBIDDEN = {
    r"(?i)\bsimply\b": "the word 'simply'",
    r"(?i)\bobviously\b": "the word 'obviously'",
    r"\\(eqref|ref|label)\b": r"\eqref, \ref or \label: link to an anchor instead",
    r"\?\?\?": "???",
    r"\\begin\{(equation|align|gather)\*?\}": r"a bare environment: use $$ with \begin{aligned}",
}
# What only this machine, or only this run, would print
LOCAL = {
    r"(?<![\w.:/])/(?:[\w.-]+/)+[\w.-]+": "an absolute path",
    r"\b[A-Z]:\\": "an absolute path",
    r"\b0x[0-9a-f]{6,}": "a memory address",
}


def violations(notebook, name: str, order: list[str]) -> list[str]:
    """What is wrong with one executed notebook; `order` names all notebooks in reading order."""
    written = nbformat.from_dict(notebook)  # without what opens it elsewhere, which nobody wrote
    written.cells = [cell for cell in notebook.cells if "address" not in tags(cell)]
    laws = first_screen, neighbours, cells, text, equations, sections, guarded, outputs, exercises
    return [
        violation
        for law in laws
        for violation in law(notebook if law is outputs else written, name, order)
    ]


def first_screen(notebook, *_) -> Iterator[str]:
    title = notebook.cells[0].source.splitlines()[0]
    if not re.fullmatch(r"# .+\?", title):
        yield f"cell 0: the title is not a question: {title!r}"
    opening = "\n".join(source for _, source in prose(notebook.cells[:8]))
    for what, pattern in FIRST_SCREEN.items():
        if not re.search(pattern, opening):
            yield f"first screen: does not say {what}"
    if not any(True for _ in figures(notebook.cells[:8])):
        yield "first screen: no figure in the first eight cells"


def neighbours(notebook, name, order) -> Iterator[str]:
    links = re.findall(
        r"\]\((\w+)\.ipynb", "\n".join(source for _, source in prose(notebook.cells))
    )
    chain = [other for other in order if shape(other) is LONG]
    if name in chain:
        i = chain.index(name)
        wanted = {"the previous": chain[max(i - 1, 0) : i], "the next": chain[i + 1 : i + 2]}
    else:
        wanted = {"the": chain}
    for which, others in wanted.items():
        for other in sorted(set(others) - set(links)):
            yield f"no link to {which} notebook {other}.ipynb"
    for link in sorted(set(links) - set(order)):
        yield f"links to {link}.ipynb, which does not exist"


def cells(notebook, name, _) -> Iterator[str]:
    n, allowed = len(notebook.cells), shape(name).cells
    if n not in allowed:
        yield f"{n} cells; from {allowed[0]} to {allowed[-1]} are allowed"
    shown = sum(not FOLDED & set(tags(cell)) for _, cell in code(notebook.cells))
    if shown > shape(name).open_code:
        yield f"{shown} code cells that do not fold; at most {shape(name).open_code}"
    lengths = {}
    for i, cell in code(notebook.cells):
        if not plain(cell.source):
            yield f"cell {i}: not plain Python (no magics)"
        lengths[i] = sum(bool(line.strip()) for line in cell.source.splitlines())
        if lengths[i] > CODE_LINES:
            yield f"cell {i}: {lengths[i]} lines of code; at most {CODE_LINES}"
        if "setup" in tags(cell) and lengths[i] > SETUP_LINES:
            yield f"cell {i}: a setup cell of {lengths[i]} lines; at most {SETUP_LINES}"
    if lengths and median(lengths.values()) > MEDIAN_LINES:
        yield f"median code cell of {median(lengths.values()):g} lines; at most {MEDIAN_LINES}"


def text(notebook, *_) -> Iterator[str]:
    for i, cell in enumerate(notebook.cells):
        for pattern, what in FORBIDDEN.items():
            if re.search(pattern, cell.source):
                yield f"cell {i}: {what}"
    if not any(re.search(r"^> \*\*Predict\.\*\*", s, re.M) for _, s in prose(notebook.cells)):
        yield "no prediction: a blockquote that starts with > **Predict.**"


def equations(notebook, *_) -> Iterator[str]:
    """Anchors and tags belong together, and every reference finds its anchor."""
    anchors, references = [], []
    for i, source in prose(notebook.cells):
        references += [(i, r) for r in re.findall(r"\]\(#(eq-[^)]*)\)", source)]
        anchors += re.findall(r'<a id="(eq-[^"]*)"></a>', source)
        tagged = re.findall(
            r'^<a id="eq-(.*)"></a>\n\n\$\$\n[^$]*\\tag\{(.*)\}\s*\$\$$', source, re.M
        )
        for anchor, tag in tagged:
            if anchor != tag:
                yield f"cell {i}: anchor eq-{anchor} stands above \\tag{{{tag}}}"
        lonely = max(len(re.findall(r"\\tag\{", source)), source.count('<a id="eq-'))
        if lonely != len(tagged):
            yield f'cell {i}: \\tag without <a id="eq-.."></a>, a blank line and $$, or the reverse'
    for anchor in sorted({a for a in anchors if anchors.count(a) > 1}):
        yield f"the anchor {anchor} is there twice"
    for i, reference in references:
        if reference not in anchors:
            yield f"cell {i}: refers to #{reference}, which does not exist"


def sections(notebook, name, _) -> Iterator[str]:
    """The closing sections are there, and assertions enough."""
    body = "\n\n".join(source for _, source in prose(notebook.cells))
    for wanted in shape(name).sections:
        if not re.search(rf"^## {wanted}", body, re.M):
            yield f"no section '## {wanted}'"
    if (total := sum(asserts(cell.source) for _, cell in code(notebook.cells))) < ASSERTS:
        yield f"{total} asserts; at least {ASSERTS}"
    yield from references(notebook)


def guarded(notebook, *_) -> Iterator[str]:
    """A takeaway, a paragraph in bold, stands alone, and what it says is asserted above it."""
    for i, source in prose(notebook.cells):
        for bold in re.findall(r"^\*\*((?:(?!\*\*).){60,})\*\* *\S", source, re.M | re.S):
            yield f"cell {i}: a takeaway and more in one paragraph: {bold[:50]!r}"
    for i, takeaway, guards in takeaways(notebook):
        if not guards:
            yield f"cell {i}: no cell above it asserts the takeaway {takeaway[:50]!r}"


def references(notebook) -> Iterator[str]:
    """Each reference says what it is good for, and the equations it is used for are named."""
    body = "\n\n".join(source for _, source in prose(notebook.cells))
    listed = re.findall(r"^[-*] (.+(?:\n  .+)*)", body.partition("\n## References")[2], re.M)
    if len(listed) < 2:
        yield "References: fewer than two entries (- ...)"
    for entry in listed:
        if len(entry) < 60 or not re.search(r"\b(1[89]|20)\d\d\b", entry):
            yield f"References: no year or no description: {entry[:50]!r}"
    if listed and not any(re.search(r"\b[Ee]qs?\b|[Ee]quation", entry) for entry in listed):
        yield "References: no entry names an equation number"


def outputs(notebook, name, _) -> Iterator[str]:
    counts = [cell.execution_count for _, cell in code(notebook.cells)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts {counts} are not 1..{len(counts)}: execute it afresh"
    for i, cell in code(notebook.cells):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {i}: an error is stored: catch it and print its message"
            if output.output_type == "execute_result":
                yield f"cell {i}: ends with a bare expression: print it"
            if output.get("name") == "stderr":
                yield f"cell {i}: writes to stderr: {output.text[:60]!r}"
            shown = output.get("text", "") + "".join(
                value for kind, value in output.get("data", {}).items() if kind.startswith("text/")
            )
            for pattern, what in LOCAL.items():
                if found := re.search(pattern, shown):
                    yield f"cell {i}: prints {what}: {found[0]!r}"
    shown = list(figures(notebook.cells))
    if len(shown) > (most := shape(name).figures):
        yield f"{len(shown)} figures; at most {most}"
    for i, output, following in shown:
        alt = output.metadata.get("image/png", {}).get("alt", "")
        if len(alt) < ALT_LENGTH or len(re.findall(r"[.!?](?:\s|$)", alt)) > ALT_SENTENCES:
            yield f"cell {i}: alt text wants {ALT_LENGTH}+ characters, 1-2 sentences; got {alt!r}"
        if not following.startswith("*Figure"):
            yield f"cell {i}: a figure without a caption"


def exercises(notebook, name, _) -> Iterator[str]:
    """For N = 1, 2, ..: '### Exercise N: ...', a cell tagged `exercise`, a cell tagged `check`."""
    kinds = []
    for _, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            kinds += [int(n) for n in re.findall(r"^### Exercise (\d+): ", cell.source, re.M)]
        else:
            kinds += [tag for tag in ("exercise", "check") if tag in tags(cell)]
    n, wanted = kinds.count("exercise"), shape(name).exercises
    if n not in wanted:
        yield f"{n} exercises; from {wanted[0]} to {wanted[-1]} are wanted"
    if kinds != [part for k in range(1, n + 1) for part in (k, "exercise", "check")]:
        yield f"exercises: expected heading, exercise, check for each number; got {kinds}"


def shape(name: str) -> Shape:
    return SHORT if name.startswith("00_") else LONG


# -- what a notebook is made of ------------------------------------------------------------------


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code(cells) -> Iterator[tuple]:
    return ((i, cell) for i, cell in enumerate(cells) if cell.cell_type == "code")


def prose(cells) -> Iterator[tuple]:
    return ((i, cell.source) for i, cell in enumerate(cells) if cell.cell_type == "markdown")


def takeaways(notebook) -> Iterator[tuple[int, str, list[int]]]:
    """(cell number, text, the cells that guard it) for each takeaway, a paragraph in bold.

    It is guarded by the cells with an assertion between it and the takeaway before it, or the
    heading of its section; takeaways in one text cell share theirs.
    """
    guards: list[int] = []
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            guards += [i] if asserts(cell.source) else []
            continue
        found = False
        for paragraph in re.split(r"\n\s*\n", cell.source):
            if paragraph.startswith("## "):
                guards = []
            elif bold := re.fullmatch(r"\*\*((?:(?!\*\*).)+)\*\*", paragraph.strip(), re.S):
                found = True
                yield i, bold[1], guards
        guards = [] if found else guards


def figures(cells) -> Iterator[tuple]:
    """(cell number, output, the text of the output after it) for each figure."""
    for i, cell in code(cells):
        for output, following in pairwise([*cell.outputs, {}]):
            if "image/png" in output.get("data", {}):
                yield i, output, following.get("data", {}).get("text/markdown", "")


def plain(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def asserts(source: str) -> int:
    """How many assertions a code cell makes: `assert` and calls of assert_allclose and the like."""
    nodes = list(ast.walk(ast.parse(source))) if plain(source) else []
    names = [
        getattr(n.func, "attr", getattr(n.func, "id", "")) for n in nodes if isinstance(n, ast.Call)
    ]
    return sum(isinstance(n, ast.Assert) for n in nodes) + sum(
        n.startswith("assert_") for n in names
    )
