"""python -m benchmarks: measure, check and report."""

import argparse
import sys
import time

from benchmarks import cells, driver


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="this library alone, nothing written")
    parser.add_argument("--report", action="store_true", help="only rewrite tables and plot")
    parser.add_argument("--resume", action="store_true", help="keep cells already measured")
    parser.add_argument("--only", default="", metavar="TEXT", help="cells with TEXT in their name")
    parser.add_argument("--rounds", type=int, default=11, help="paired rounds, at least 7 to count")
    options = parser.parse_args(arguments)
    if options.quick:
        return quick()
    if not options.report:
        full(options.rounds, options.only, options.resume)
    from benchmarks import report

    return report.main()


def quick() -> int:
    """This library's contenders on small cells, checked against each other: it runs, no more."""
    with driver.Workers() as workers:
        for cell in cells.QUICK:
            record = driver.measure(workers, cell, cell.contenders(without_peers=True), rounds=2)
            for name, of in record["contenders"].items():
                print(f"{cell.name:28} {name:10} {1e6 * min(of['wall']):9.0f} microseconds")
    return 0


def full(rounds: int, only: str, resume: bool) -> None:
    """Every cell, written to results/ as soon as it is measured."""
    from benchmarks import cold, footprint, scaling

    jobs = {}
    with driver.Workers() as workers:
        for cell in cells.CELLS:
            jobs[cell.name] = lambda cell=cell: driver.measure(
                workers, cell, cell.contenders(), rounds
            )
        jobs["cold"] = lambda: cold.measure(min(rounds, 7))
        jobs["footprint"] = lambda: footprint.measure(min(rounds, 7))
        jobs["scaling"] = scaling.measure
        for name, job in jobs.items():
            path = driver.RESULTS / f"{name}.json"
            if only not in name or (resume and driver.is_done(path, rounds)):
                continue
            begin = time.perf_counter()
            machine = driver.machine()
            driver.write({"machine": machine, "rounds": rounds, **job()}, path)
            print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
