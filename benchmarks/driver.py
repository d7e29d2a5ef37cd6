"""The driver: starts a worker per contender, checks that all agree, then times them in turn.

Rounds are interleaved, so that whatever else the machine does meets all contenders alike: a ratio
is formed within a round, and the median over rounds is what the tables show. Times are processor
time, all threads of a process together: on one idle core that is the clock's, and on a busy one it
leaves out the wait for the core. The clock's are in the results too.
"""

import contextlib
import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks import cells
from benchmarks.cells import Cell
from benchmarks.worker import ENVIRONMENT
from tools import files

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    *("numpy", "autograd", "torch", "normflows", "nflows", "zuko", "pyro-ppl"),
    *("jax", "jaxlib", "flowjax", "equinox", "optax"),
)


def module_of(contender: str) -> str:
    """The file of a contender: the framework it stands on."""
    if contender in cells.NUMPY:
        return "benchmarks.with_numpy"
    return "benchmarks.with_jax" if contender in cells.JAX else "benchmarks.with_torch"


def environment(dtype: str = "float64") -> dict[str, str]:
    """One thread for every library, and this checkout on the path."""
    own = {"JAX_ENABLE_X64": "1" if dtype == "float64" else "0", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **ENVIRONMENT, **own}


def one_core() -> None:
    """Keep this process, and what it starts, on the last core it may use, where that can be set."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run(arguments: list[str]) -> dict[str, float]:
    """Run Python to its end on the one core: seconds by the clock and of processor time."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(),
        cwd=ROOT,
        preexec_fn=one_core,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"python {' '.join(arguments)}: ended with {process.returncode}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}


class Process:
    """A worker and the conversation with it."""

    def __init__(self, contender: str, dtype: str) -> None:
        self.contender = contender
        self.cache = tempfile.TemporaryDirectory()  # so that compiling is always from the start
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", contender, module_of(contender)],
            env={**environment(dtype), "TORCHINDUCTOR_CACHE_DIR": self.cache.name},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            preexec_fn=one_core,
        )

    def ask(self, do: str, **order: object) -> dict:
        try:
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"worker {self.contender} ended: {self.log.read()[-2000:]}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"worker {self.contender}, {do}:\n{reply['error']}")
        return reply

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.cache.cleanup()


class Workers(contextlib.AbstractContextManager):
    """The processes of one dtype, started when first needed and kept for the next cell."""

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}
        self.dtype = None

    def of(self, contender: str, dtype: str) -> Process:
        if dtype != self.dtype:
            self.close()
            self.dtype = dtype
        if contender not in self.processes:
            self.processes[contender] = Process(contender, dtype)
        return self.processes[contender]

    def close(self) -> None:
        for process in self.processes.values():
            process.close()
        self.processes.clear()

    def __exit__(self, *error: object) -> None:
        self.close()


def measure(workers: Workers, cell: Cell, contenders: tuple[str, ...], rounds: int) -> dict:
    """Prepare, check and time one cell: the record that goes into its file."""
    prepared, errors, processes, want = {}, {}, {}, None
    with tempfile.TemporaryDirectory() as folder:
        for name in contenders:
            process = processes[name] = workers.of(name, cell.dtype)
            answer = str(Path(folder) / f"{name}.npz")
            prepared[name] = process.ask("prepare", cell=cell.name, answer=answer)
            with np.load(answer) as file:
                got = dict(file)
            want = got if want is None else want  # ours comes first
            errors[name] = cells.require_agreement(cell, name, got, want)
    wall = {name: [] for name in contenders}
    cpu = {name: [] for name in contenders}
    for r in range(rounds):
        start = r % len(contenders)  # nobody is always the first, or always after the same other
        for name in contenders[start:] + contenders[:start]:
            seconds = processes[name].ask("time")
            wall[name].append(seconds["wall"])
            cpu[name].append(seconds["cpu"])
    return {
        "cell": cell.record(),
        "contenders": {
            name: {
                **prepared[name],
                "disagreement": errors[name],
                "wall": wall[name],
                "cpu": cpu[name],
                "about": processes[name].ask("about"),
            }
            for name in contenders
        },
    }


# ------------------------------------------------------------------------------------ records
def machine() -> dict:
    """Date, processor, load and versions: what the numbers depend on."""
    versions = {"python": platform.python_version(), "nflib_min": source_digest()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "instructions": instructions(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(x, 2) for x in load] if load else None,
        "threads": "one thread for every library, all processes on the same core"
        if hasattr(os, "sched_setaffinity")
        else "one thread for every library",
        "versions": versions,
    }


def processor() -> str:
    """The processor's name as the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def instructions() -> str | None:
    """The widest vector instructions that this processor has; compilers and NumPy use them."""
    flags = ""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = {"AVX-512": "avx512f", "AVX2": "avx2", "SSE4": "sse4_2", "NEON": "asimd"}
    return next((name for name, flag in names.items() if re.search(rf"\b{flag}\b", flags)), None)


def source_digest() -> str:
    """A short digest of the library's sources: results of another state of them are not resumed."""
    sha = hashlib.sha256()
    for path in sorted((ROOT / "nflib_min").rglob("*.py")):
        sha.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return sha.hexdigest()[:12]


def write(record: dict, path: Path) -> None:
    """Write a record as JSON, atomically."""
    files.write(path, json.dumps(record, indent=1) + "\n")


def is_done(path: Path, rounds: int) -> bool:
    """True if a run with this library and these versions has already left at least these rounds."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        record["machine"]["versions"] == machine()["versions"]
        and record["machine"]["processor"] == processor()
        and record["rounds"] >= rounds
    )
