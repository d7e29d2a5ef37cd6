"""LEDGER.md and README's summary: what the paper has, what we have, and how far apart they are.

Numbers of ours are computed from results/*.json; what is typed (the paper's numbers, those of
others, the recipe, the errata) stands in `paper.py`. The text is a template, LEDGER.md.j2.
"""

from pathlib import Path

from reproduce import paper
from reproduce.ledger import pictures, table_2
from reproduce.ledger.study import study
from reproduce.ledger.verdicts import VERDICTS, Line, count, minutes
from reproduce.results import FOLDER as RESULTS
from reproduce.results import load
from tools.files import write
from tools.markdown import between, render, table

LEDGER, README = RESULTS.with_name("LEDGER.md"), RESULTS.parent.parent / "README.md"
NAMES = ("fig1", "fig3", "ablations", "trials", "mnist", "posteriordb")
BEGIN, END = "<!-- ledger:begin -->", "<!-- ledger:end -->"
HVI_REASON = (
    "Hamiltonian variational inference needs a reverse model of the momenta, and in every layer "
    "the gradient of the decoder's log-density, differentiated once more: a second implementation "
    "beside that of the flows, which does not fit in 150 lines; notebook 04 has the leapfrog map "
    "itself, its inverse and its volume"
)
TABLE_3_REASON = (
    "the images of CIFAR-10 are not at hand: of 13 packages on PyPI and npm that are named after "
    "it none holds them (the images take 170 MB; 12 of the packages have 3 to 430 kB of loaders, "
    "code and labels, one has a trained network of 10 MB), and Debian has none"
)


def read(folder: Path = RESULTS) -> dict[str, list[dict]]:
    """name -> rows of every result there is."""
    return {name: load(name, folder) for name in NAMES if (folder / f"{name}.json").exists()}


def absent() -> list[Line]:
    """What the paper has and this collection has not."""
    (name, values), lengths = next(iter(paper.TABLE_2_OTHERS.items())), paper.TABLE_3
    hvi = " / ".join(f"{value:.2f}" for value in values)
    cifar = " / ".join(f"{value:.1f}" for value in lengths.values())
    item = f"Table 3: CIFAR-10, K = {' / '.join(map(str, lengths))}"
    return [
        Line(f"Table 2, HVI: {name}", hvi, verdict=f"not run, because {HVI_REASON}"),
        Line(item, cifar, verdict=f"not run, because {TABLE_3_REASON}"),
    ]


def verdicts_of(results: dict) -> dict[str, list[str]]:
    """Figure or table, and block -> the verdict of each of its numbers or pictures."""
    found = {}
    for line in [*pictures.lines(results), *absent()]:
        found.setdefault(line.item.partition(":")[0], []).append(line.verdict)
    for number in table_2.numbers(results.get("mnist", [])):
        for block, (_, verdict) in number.ours.items():
            found.setdefault(f"{number.item.partition(':')[0]}, {block}", []).append(verdict)
    return dict(sorted(found.items()))


def counted(results: dict) -> str:
    counts = count(verdict for group in verdicts_of(results).values() for verdict in group)
    parts = ", ".join(f"{n} {word}" for word, n in counts.items())
    return f"{sum(counts.values())} numbers and pictures: {parts}."


def text(results: dict) -> str:
    """LEDGER.md."""
    names = {
        "paper": paper,
        "counted": counted(results),
        "lines": [[*vars(line).values()] for line in [*pictures.lines(results), *absent()]],
        "fig1": "fig1" in results,
        "fig3": pictures.figure_3(results["fig3"]) if "fig3" in results else None,
        "ablations": pictures.ablations(results["ablations"]) if "ablations" in results else None,
        "trials": pictures.trials(results) if "trials" in results else None,
        "mnist": table_2.tables(results["mnist"]) if "mnist" in results else None,
        "study": study(results["posteriordb"]) if "posteriordb" in results else None,
        "errata": errata(results),
        "origins": origins(results),
    }
    return render(Path(__file__).with_name("LEDGER.md.j2"), **names)


def errata(results: dict) -> list[list[str]]:
    """The paper's errata, and of E4 what was measured."""
    measured = {"E4": printed_constraint(results)}
    return [[k, said, here + measured.get(k, "")] for k, (said, here) in paper.ERRATA.items()]


def printed_constraint(results: dict) -> str:
    """What was measured of E4: appendix A's constraint as printed, beside the shifted one."""
    pairs = pictures.printed_pairs(results.get("ablations", []))
    pairs += table_2.printed_pairs(results.get("mnist", []))
    if not pairs:
        return ""
    each = ", ".join(f"{name} {printed} for {shifted}" for name, printed, shifted in pairs)
    lower = sum(float(printed) <= float(shifted) for _, printed, shifted in pairs)
    return (
        f" Trained, as printed for shifted: {each}, nats. The printed one is as low or lower in "
        f"{lower} of {len(pairs)} pairs: its start costs nothing that training does not repair."
    )


def origins(results: dict) -> list[list[str]]:
    """A line for each result and each distinct origin of its rows."""
    lines = []
    for name, rows in results.items():
        found = {}
        for row in rows:
            commit = row["commit"] or "none"
            where = f"`{commit[:10]}{'-dirty' if commit.endswith('-dirty') else ''}`"
            versions = ", ".join(f"{k} {v}" for k, v in sorted(row["versions"].items()))
            found.setdefault((where, versions, row["date"]), []).append(row)
        for origin, group in found.items():
            lines.append([f"{name}.json", str(len(group)), minutes(group), *origin])
    return lines


def summary(results: dict) -> str:
    """What goes between the markers of README.md: one line a figure or table."""
    lines = [
        [item.replace("Fig ", "Figure "), *map(str, count(verdicts).values())]
        for item, verdicts in verdicts_of(results).items()
    ]
    return (
        f"{counted(results)} [reproduce/LEDGER.md](reproduce/LEDGER.md) has each with its "
        "standard error, the others' numbers, and the errata.\n\n"
        + table(["", *VERDICTS], lines, numbers=True)
    )


def write_all() -> None:
    """Renew LEDGER.md and, between its markers, README.md."""
    results = read()
    write(LEDGER, text(results))
    page = README.read_text("utf-8")
    write(README, between(page, BEGIN, END, summary(results), README.name))
