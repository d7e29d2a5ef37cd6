"""One contender in a process of its own: one thread, one core, told step by step what to do.

Lines of JSON come in on standard input and go out on standard output; whatever a library prints
goes to standard error.
"""

import contextlib
import importlib
import json
import os
import sys
import time
import traceback

import numpy as np

# Seconds that one timed block of steps should take. A call of `fit` copies all parameters: where
# there are many and the steps are few, that would count as a part of each step.
BLOCK = {"amortized": 1.0}
SHORT_BLOCK = 0.1

# set before the libraries are imported, by the driver that starts a worker
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "PYTHONHASHSEED": "0",
}


class Worker:
    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module
        self.contender, self.steps = None, 1

    def prepare(self, cell: str, answer: str) -> dict:
        """Build the contender, answer the check, warm up, and choose the size of a block."""
        from benchmarks import cells

        cell = cells.cell_named(cell)
        given = cells.problem(cell)
        self.contender = None
        start = time.perf_counter()
        build = importlib.import_module(self.module).build
        imported = time.perf_counter()
        self.contender = build(cell, self.name, given)
        unit, block = getattr(self.contender, "chunk", 1), BLOCK.get(cell.kind, SHORT_BLOCK)
        self.contender.run(unit)
        first_step = time.perf_counter() - imported  # with building and compiling
        np.savez(answer, **build(cell, self.name, given).check(given["z0"]))
        self.contender.run(2 * unit)
        self.steps = unit
        while True:  # a block of steps long enough for the clock, and warm at exactly this size
            self.contender.run(self.steps)
            seconds = self.time()["cpu"]
            if seconds * self.steps > block / 2:
                break
            wanted = block / max(seconds, 1e-7)
            self.steps = unit * max(1, round(min(wanted, 20 * self.steps) / unit))
        return {"steps": self.steps, "first_step": first_step, "import": imported - start}

    def time(self) -> dict:
        """Seconds a step over one block: of processor time, all threads, and by the clock."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.contender.run(self.steps)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall": wall / self.steps, "cpu": cpu / self.steps}

    def about(self) -> dict:
        """What this process runs on: threads of its BLAS pools, cores it may use."""
        pools = {}
        with contextlib.suppress(ImportError):  # in the peers' environment only
            from threadpoolctl import threadpool_info

            pools = {p["internal_api"]: p["num_threads"] for p in threadpool_info()}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        about = {"pools": pools, "cores": cores}
        if "torch" in sys.modules:
            about["torch threads"] = sys.modules["torch"].get_num_threads()
        return about


def main() -> None:
    name, module = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(name, module)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            reply = getattr(worker, order.pop("do"))(**order)
        except Exception:
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
