r"""Run independent tasks, on the cores of this machine or on a Dask cluster, exactly once each.

A task is a function of a module, its settings and a seed; its result is one JSON file, named by a
digest of the three and written atomically. So runs that were interrupted go on where they were, and
long tasks go on from their own checkpoint, to the same numbers. `collect` merges the results of
many tasks into one file that is small enough to commit; `results.load` reads it.
"""

import inspect
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tqdm import tqdm

from reproduce.provenance import commit, versions
from reproduce.results import MERGED, canonical, load, sha256
from reproduce.results import read as read_checked
from tools.files import write

FORMAT = "nflib_min result 1"


@dataclass(frozen=True)
class Task:
    """One run of `function(**settings, seed=seed, **local)`, which returns a dict for JSON.

    Parameters
    ----------
    function : at the top level of a module, so that another process can import it. If it has a
        parameter `checkpoint`, it gets the path of a file that it may keep and resume from.
    settings : what the result depends on, as JSON has it (no tuples, arrays, NaN).
    seed : of all randomness.
    local : what differs between machines and changes no result, such as the folder of the data.

    Errors: ValueError if the function has no importable name or the settings are not JSON.

    >>> import math
    >>> task = Task(math.prod, {"iterable": [1, 2]}, seed=0)
    >>> task.name
    'prod-dcbd193e3738ddc9'
    >>> task.name == Task(math.prod, {"iterable": [1, 2]}, seed=1).name
    False
    """

    function: Callable[..., dict]
    settings: dict
    seed: int
    local: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "<" in self.function.__qualname__ or self.function.__module__ == "__main__":
            raise ValueError(
                f"task: expected a function at the top level of an importable module, "
                f"got {self.function_name}"
            )
        try:
            same = json.loads(canonical(self.settings)) == self.settings
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings: expected what JSON can hold, got {error}") from None
        if not same:
            raise ValueError(f"settings: expected what JSON gives back, got {self.settings}")

    @property
    def function_name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def identity(self) -> dict:
        return {"function": self.function_name, "settings": self.settings, "seed": self.seed}

    @property
    def name(self) -> str:
        return f"{self.function.__name__}-{sha256(self.identity)[:16]}"

    def path(self, directory: str | Path) -> Path:
        """Where the task's result is, or will be."""
        return Path(directory) / f"{self.name}.json"


def run(
    tasks: Sequence[Task],
    directory: str | Path,
    scheduler: str | None = None,
    jobs: int = -1,
    progress: bool | None = None,
) -> list[dict]:
    """Run the tasks that have no result in `directory` yet; return all records, in order.

    Parameters
    ----------
    scheduler : address of a Dask scheduler, such as "tcp://host:8786"; None for joblib. The workers
        need this checkout and one thread each (`dask worker --nthreads 1`), since CPU time and
        the number of BLAS threads belong to a process.
    jobs : processes of joblib, -1 for all cores, 1 for this process itself.
    progress : None shows a bar only where a person is watching (a terminal); False never.

    Errors: ValueError, before anything runs, if two tasks are the same or an existing result is
    damaged or of another task (it is left as it is); RuntimeError at the end, when every other
    task is done, if a task failed.
    """
    directory = Path(directory).resolve()
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        twice = next(task for task in tasks if names.count(task.name) > 1)
        raise ValueError(f"tasks: expected each once, got twice {twice.identity}")
    records = {t.name: read(directory, t) for t in tasks if t.path(directory).exists()}
    todo = [task for task in tasks if task.name not in records]
    failures = []
    hidden = None if progress is None else not progress
    with tqdm(total=len(tasks), initial=len(records), unit="task", disable=hidden) as bar:
        outcomes = _by_joblib(todo, directory, jobs) if scheduler is None else None
        for task, record, error in outcomes or _by_dask(todo, directory, scheduler):
            bar.update()
            if error is not None:
                failures.append(f"{task.name} {canonical(task.identity)}: {error}")
                continue
            if not task.path(directory).exists():  # a worker wrote it on another machine's disk
                write(task.path(directory), canonical(record))
            records[task.name] = read(directory, task)
    if failures:
        raise RuntimeError(
            f"{len(failures)} of {len(tasks)} tasks failed, the others are done:\n"
            + "\n".join(failures)
        )
    return [records[name] for name in names]


Outcome = tuple[Task, dict | None, str | None]


def _by_joblib(tasks: list[Task], directory: Path, jobs: int) -> Iterator[Outcome]:
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    return parallel(delayed(attempt)(task, directory) for task in tasks)


def _by_dask(tasks: list[Task], directory: Path, scheduler: str) -> Iterator[Outcome]:
    from distributed import Client, as_completed

    with Client(scheduler) as client:
        for address, threads in client.nthreads().items():
            if threads != 1:
                raise ValueError(
                    f"worker {address}: expected one thread (dask worker --nthreads 1), "
                    f"got {threads}"
                )
        # The key is the task's own name: the scheduler knows a task that it was given before.
        futures = {client.submit(attempt, t, directory, key=t.name): t for t in tasks}
        for future in as_completed(futures):
            task = futures[future]
            if future.status == "finished":
                yield future.result()
            else:  # it was lost with its workers more often than the scheduler allows
                yield task, None, repr(future.exception())


def attempt(task: Task, directory: Path) -> Outcome:
    """Run one task in this process: (task, its record, None) or (task, None, what went wrong)."""
    try:
        return task, execute(task, directory), None
    except Exception as error:
        return task, None, f"{type(error).__name__}: {error}"


def execute(task: Task, directory: Path) -> dict:
    """Run one task with one BLAS thread and write its result; an existing one is returned as it is.

    cpu_seconds are of this process, from here to the end: of a task that was killed and resumed,
    those of the last attempt.
    """
    from threadpoolctl import threadpool_limits

    path = task.path(directory)
    if path.exists():
        return read(directory, task)
    checkpoint, local = path.with_suffix(".checkpoint"), dict(task.local)
    if "checkpoint" in inspect.signature(task.function).parameters:
        local["checkpoint"] = checkpoint
    start = time.process_time()
    with threadpool_limits(1):
        values = task.function(**task.settings, seed=task.seed, **local)
    record = {
        "format": FORMAT,
        **task.identity,
        "values": values,
        "versions": versions(),
        "commit": commit(),
        "cpu_seconds": round(time.process_time() - start, 2),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    record["sha256"] = sha256(record)
    write(path, canonical(record))
    # What a killed attempt left half written goes, too.
    for file in (checkpoint, *path.parent.glob(f".{task.name}.*.part")):
        file.unlink(missing_ok=True)
    return record


def read(directory: str | Path, task: Task) -> dict:
    """The task's record; ValueError, the file left as it is, unless it is whole and this task's."""
    path = task.path(directory)
    record = read_checked(path, FORMAT)
    found = {key: record.get(key) for key in task.identity}
    if found != task.identity:
        raise ValueError(
            f"{path.name}: expected the result of {canonical(task.identity)}, "
            f"got that of {canonical(found)}"
        )
    return record


def collect(
    tasks: Sequence[Task],
    directory: str | Path,
    path: str | Path,
    partial: bool = False,
    leave_out: Sequence[str] = (),
) -> list[dict]:
    """Merge the results of one function's tasks into one file, each checked; return its rows.

    What all tasks share is written once: the function, equal settings, and each distinct
    combination of versions, commit and date. The values named in `leave_out` are left out.

    Errors: ValueError on a damaged or mismatching result, on tasks of different functions, and,
    unless `partial`, on a missing result; `path` is then not touched.
    """
    path = Path(path)
    there = [task for task in tasks if task.path(directory).exists()]
    functions = {task.function_name for task in tasks}
    if len(functions) != 1:
        raise ValueError(f"collect: expected tasks of one function, got {sorted(functions)}")
    if not there or (len(there) < len(tasks) and not partial):
        missing = next(task for task in tasks if task not in there)
        raise ValueError(
            f"collect: expected {len(tasks)} results in {Path(directory).name}, got {len(there)}; "
            f"the first missing is {missing.name}.json, {canonical(missing.identity)}"
        )
    records = [read(directory, task) for task in there]
    shared = {
        key: value
        for key, value in records[0]["settings"].items()
        if all(key in r["settings"] and r["settings"][key] == value for r in records)
    }
    origins, rows = [], []
    for record in records:
        origin = {key: record[key] for key in ("versions", "commit", "date")}
        if origin not in origins:
            origins.append(origin)
        rows.append(
            {
                "settings": {k: v for k, v in record["settings"].items() if k not in shared},
                "seed": record["seed"],
                "values": {k: v for k, v in record["values"].items() if k not in leave_out},
                "cpu_seconds": record["cpu_seconds"],
                "origin": origins.index(origin),
            }
        )
    merged = {
        "format": MERGED,
        "function": functions.pop(),
        "missing": len(tasks) - len(there),
        "settings": shared,
        "origins": origins,
        "rows": rows,
    }
    merged["sha256"] = sha256(merged)
    lines = [f'"{key}": {canonical(merged[key])}' for key in merged if key != "rows"]
    lines.append('"rows": [\n' + ",\n".join(map(canonical, rows)) + "\n]")
    write(path, "{\n" + ",\n".join(lines) + "\n}\n")
    return load(path.stem, path.parent)
