"""`python -m reproduce ENTRY`: run the tasks of a figure or table, merge, draw, keep the ledger.

Everything goes to build/reproduce: raw results, one file a task, and what is merged from them. With
--save the merged part is written where it is committed: results/*.json, figures/*.png, LEDGER.md.
A run that was interrupted goes on where it was.
"""

import argparse
import sys
from pathlib import Path

from reproduce import fig1, fig3, ledger, mnist_data, runs
from reproduce.results import FOLDER as RESULTS
from tools.files import write

FIGURES = RESULTS.with_name("figures")
ENTRIES = {
    "fig1": "figure 1: planar and radial layers on two bases (a minute)",
    "fig3": "figure 3: four densities by 2, 8, 32 layers, the curve against K, the ablations",
    "mnist": "figure 4 and table 2: MNIST, every length, with and without flows (hours)",
    "posteriors": "notebook 06: six posteriors by five families, two gradients; fit_posterior on "
    "models of posteriordb (two hours)",
    "table3": "table 3: says why it is not here",
    "ledger": "LEDGER.md and README's summary, from the results alone",
    "subset": "notebooks/data/mnist_binarised.npz, from the originals",
    "all": "fig1, fig3, mnist, posteriors and the ledger",
}


def parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10} {what}" for name, what in ENTRIES.items())
    made = argparse.ArgumentParser(
        prog="python -m reproduce",
        description="The figures and tables of Rezende & Mohamed (2015), run again.\n\n" + listed,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("entry", choices=ENTRIES, metavar="ENTRY", help="one of the names above")
    made.add_argument("--jobs", type=int, default=-1, metavar="N", help="processes (all cores)")
    made.add_argument(
        "--scheduler", metavar="ADDRESS", help="a Dask scheduler instead, such as tcp://host:8786"
    )
    made.add_argument(
        "--mnist", metavar="DIR", help="the four IDX files of MNIST (downloaded if not given)"
    )
    made.add_argument(
        "--out", default="build/reproduce", metavar="DIR", help="all results (build/reproduce)"
    )
    made.add_argument(
        "--save", action="store_true", help="write the merged results over the committed ones"
    )
    made.add_argument("--epochs", type=int, default=833, metavar="N", help="of MNIST at most (833)")
    made.add_argument(
        "--partial", action="store_true", help="merge and draw what is there, run nothing"
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="fig1, fig3, posteriors: a small run, which write below --out only",
    )
    return made


class Output:
    """Where a run reads and writes, and how it computes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, out = options, Path(options.out)
        if options.quick:
            out = out / "quick"
        self.raw = out / "raw" if options.quick else out
        self.results = RESULTS if options.save else out / "results"
        self.figures = FIGURES if options.save else out / "figures"

    def collected(self, name: str, tasks: list[runs.Task], leave_out: tuple = ()) -> list[dict]:
        """Run what has no result yet, and merge everything into results/NAME.json."""
        if not self.options.partial:
            runs.run(tasks, self.raw, self.options.scheduler, self.options.jobs)
        path = self.results / f"{name}.json"
        return runs.collect(tasks, self.raw, path, self.options.partial, leave_out)

    def draw(self, name: str, png: bytes) -> None:
        write(self.figures / f"{name}.png", png)


def run_fig1(at: Output) -> None:
    at.collected("fig1", fig1.tasks(at.options.quick))
    at.draw("fig1", fig1.figure())


def run_fig3(at: Output) -> None:
    tasks = fig3.tasks(at.options.quick)
    rows = at.collected("fig3", tasks, leave_out=("density",))
    shown = fig3.shown(tasks, rows)
    path = at.results / "fig3_panels.json"
    panels = runs.collect(shown, at.raw, path, at.options.partial)
    at.draw("fig3", fig3.figure(panels))
    at.draw("fig3_curve", fig3.curve(rows))
    for name, more in (("ablations", fig3.ablations), ("trials", fig3.trials)):
        at.collected(name, more(at.options.quick), leave_out=("density",))


def run_mnist(at: Output) -> None:
    from reproduce import fig4, mnist

    raw, data, last = at.raw / "mnist", at.options.mnist, at.options.epochs
    tasks = [task for tasks in mnist.rounds(data, "", last) for task in tasks]
    if not at.options.partial:
        how = {"scheduler": at.options.scheduler, "jobs": at.options.jobs}
        tasks = mnist.run_rounds(raw, data, last, **how)
    rows = runs.collect(tasks, raw, at.results / "mnist.json", at.options.partial)
    at.draw("fig4", fig4.figure(rows))


def run_posteriors(at: Output) -> None:
    from reproduce import posteriors
    from reproduce.posteriordb import study

    at.collected("posteriors", posteriors.tasks(at.options.quick))
    at.collected("gradients", posteriors.comparisons(at.options.quick))
    at.collected("posteriordb", study.tasks(at.options.quick))


STEPS = {"fig1": run_fig1, "fig3": run_fig3, "mnist": run_mnist, "posteriors": run_posteriors}


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    at = Output(options)
    if options.quick and options.save:
        parser().error("--save: expected a whole run, got --quick, which is too small")
    if options.quick and options.entry not in ("fig1", "fig3", "posteriors"):
        parser().error(f"--quick: expected fig1, fig3 or posteriors, got {options.entry}")
    try:
        if options.entry == "table3":
            print(ledger.TABLE_3_REASON)
        elif options.entry == "subset":
            mnist_data.write_subset(options.mnist)
        for name, step in STEPS.items():
            if options.entry in (name, "all"):
                step(at)
        if options.save or options.entry == "ledger":
            ledger.write_all()
        elif options.entry in (*STEPS, "all"):
            print(
                f"Results and figures are in {at.results.parent}; the committed ones are untouched."
            )
    except (OSError, RuntimeError, ValueError) as error:
        print(f"python -m reproduce {options.entry}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
