"""Runs do each task once: after a kill, beside damaged files, and when a worker is lost."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from reproduce import fig3, provenance, results, runs
from reproduce.provenance import ROOT
from reproduce.runs import Task
from tools import files

FAST = (
    fig3.COMMON | fig3.recipe(2, "U1") | {"draws": 500, "steps": 60, "batch": 32, "annealing": 20}
)


def task(seed=0, **settings):
    return Task(fig3.train, FAST | {"target": "U1", "flow": "planar", "K": 2} | settings, seed)


def python(*arguments, **options):
    """This interpreter on a script or module, with the checkout importable."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, **options)


def wait_until(true, seconds=300):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def values(records):
    return [record["values"] for record in records]


def snapshot(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ------------------------------------------------------------------------------- what a task is
def test_name_depends_on_function_settings_and_seed_but_not_on_the_machine():
    names = {task().name, task(1).name, task(K=3).name, Task(fig3.build, task().settings, 0).name}
    assert len(names) == 4
    assert task().name == Task(fig3.train, task().settings, 0, {"mnist": "elsewhere"}).name


def test_a_version_in_the_settings_makes_other_names():
    assert task().name != task(version=FAST["version"] + 1).name


@pytest.mark.parametrize("setting", [(1, 2), math.nan, {1: 2}, object()])
def test_settings_that_json_cannot_give_back_are_refused(setting):
    with pytest.raises(ValueError, match="settings: expected what JSON"):
        task(extra=setting)


def test_a_function_that_no_process_can_import_is_refused():
    with pytest.raises(ValueError, match="top level of an importable module"):
        Task(lambda seed: {}, {}, 0)


# ------------------------------------------------------------------------------------ once each
def test_results_hold_what_is_needed_to_run_them_again(tmp_path):
    (record,) = runs.run([task(seed=3)], tmp_path, jobs=1)
    assert record["settings"] == task().settings and record["seed"] == 3
    assert set(record["versions"]) == {"python", "numpy", "autograd", "nflib_min"}
    assert record["cpu_seconds"] > 0 and record["date"][:2] == "20"
    assert record["commit"] == runs.commit()
    assert [path.name for path in tmp_path.iterdir()] == [f"{task(seed=3).name}.json"]


def test_what_is_there_is_not_run_again(tmp_path):
    first = runs.run([task(0)], tmp_path, jobs=1)
    before = snapshot(tmp_path)
    both = runs.run([task(0), task(1)], tmp_path, jobs=1)
    assert both[0] == first[0] and both[1]["seed"] == 1
    assert before.items() < snapshot(tmp_path).items()


def test_a_task_given_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected each once, got twice .*'seed': 5"):
        runs.run([task(5), task(6), task(5)], tmp_path, jobs=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path):
    tasks = [task(seed) for seed in range(4)]
    alone = runs.run(tasks, tmp_path / "alone", jobs=1)
    spread = runs.run(tasks, tmp_path / "spread", jobs=2)
    assert values(alone) == values(spread)
    assert values(spread) != [spread[0]["values"]] * 4


def test_a_failing_task_is_reported_when_the_others_are_done(tmp_path):
    tasks = [task(0, flow="none"), task(1)]
    with pytest.raises(RuntimeError, match=r"1 of 2 tasks failed.*\n.*flow: expected one of"):
        runs.run(tasks, tmp_path, jobs=1)
    assert tasks[1].path(tmp_path).exists()
    assert not tasks[0].path(tmp_path).exists()


# --------------------------------------------------------------------------------------- killed
@pytest.mark.slow
def test_a_killed_task_goes_on_from_its_checkpoint_to_the_same_result(tmp_path):
    long = task(steps=8000)
    code = (
        "from reproduce import runs, fig3\n"
        f"runs.run([runs.Task(fig3.train, {long.settings}, 0)], {str(tmp_path)!r}, jobs=1)"
    )
    child = python("-c", code)
    path = long.path(tmp_path)
    wait_until(path.with_suffix(".checkpoint").exists)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not path.exists()
    half = tmp_path / f".{path.name}.8ye2.part"  # it may have died while writing, too
    half.write_text("12", encoding="utf-8")
    (resumed,) = runs.run([long], tmp_path, jobs=1)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # the rest is tidied away
    (whole,) = runs.run([long], tmp_path / "whole", jobs=1)
    assert resumed["values"] == whole["values"]


def test_an_interrupt_is_not_taken_for_a_result(tmp_path, monkeypatch):
    monkeypatch.setattr(fig3, "fit", lambda *_, **__: type("", (), {"interrupted": True}))
    with pytest.raises(KeyboardInterrupt):
        runs.run([task()], tmp_path, jobs=1)
    assert not list(tmp_path.glob("*.json"))


# -------------------------------------------------------------------------------------- damaged
def without_a_byte(path, other):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path, other):
    path.write_bytes(b"")


def another_number(path, other):
    record = json.loads(path.read_text(encoding="utf-8"))
    record["values"]["kl"][0] += 1e-6
    path.write_text(json.dumps(record), encoding="utf-8")


def another_tasks(path, other):
    path.write_bytes(other.read_bytes())


def another_format(path, other):
    path.write_text(json.dumps({"format": "a letter", "values": {}}), encoding="utf-8")


def no_object(path, other):
    path.write_text("[1, 2]", encoding="utf-8")


DAMAGES = [without_a_byte, empty, another_number, another_tasks, another_format, no_object]


@pytest.fixture(scope="module")
def two_results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    runs.run([task(0), task(1)], folder, jobs=1)
    return snapshot(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_result_is_refused_and_left_alone(tmp_path, two_results, damage):
    for name, data in two_results.items():
        (tmp_path / name).write_bytes(data)
    path, other = (task(seed).path(tmp_path) for seed in (0, 1))
    damage(path, other)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=rf"{path.name}: expected .*got"):
        runs.run([task(2), task(0), task(1)], tmp_path, jobs=1)
    assert snapshot(tmp_path) == before  # not even task 2 was begun
    merged = tmp_path / "merged.json"
    for partial in (False, True):
        with pytest.raises(ValueError, match=rf"{path.name}: expected .*got"):
            runs.collect([task(0), task(1)], tmp_path, merged, partial)
    assert snapshot(tmp_path) == before


# --------------------------------------------------------------------------------------- merged
def test_merging_keeps_every_row_once_and_says_the_common_part_once(tmp_path):
    tasks = [task(seed, K=K) for K in (1, 2) for seed in (0, 1)]
    records = runs.run(tasks, tmp_path / "raw", jobs=1)
    merged = tmp_path / "merged.json"
    rows = runs.collect(tasks, tmp_path / "raw", merged)
    assert rows == results.load(merged.stem, merged.parent)
    for row, record in zip(rows, records, strict=True):
        assert row == {key: record[key] for key in row}
        assert set(record) - set(row) == {"format", "sha256"}
    assert merged.read_text(encoding="utf-8").count('"draws"') == 1
    assert merged.read_text(encoding="utf-8").count(rows[0]["commit"] or '"commit": null') == 1
    less = runs.collect(tasks, tmp_path / "raw", merged, leave_out=("density",))
    assert set(rows[0]["values"]) - set(less[0]["values"]) == {"density"}


def test_a_missing_result_is_not_merged_over(tmp_path, two_results):
    for name, data in two_results.items():
        (tmp_path / name).write_bytes(data)
    tasks, merged = [task(0), task(1), task(2)], tmp_path / "merged.json"
    with pytest.raises(ValueError, match=rf"expected 3 results .* got 2.*{task(2).name}"):
        runs.collect(tasks, tmp_path, merged)
    assert not merged.exists()
    assert len(runs.collect(tasks, tmp_path, merged, partial=True)) == 2
    assert json.loads(merged.read_text(encoding="utf-8"))["missing"] == 1


def test_a_merged_file_that_was_edited_is_refused(tmp_path, two_results):
    for name, data in two_results.items():
        (tmp_path / name).write_bytes(data)
    merged = tmp_path / "merged.json"
    runs.collect([task(0), task(1)], tmp_path, merged)
    merged.write_text(
        merged.read_text(encoding="utf-8").replace('"seed": 1', '"seed": 7'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"merged\.json: expected a whole file.*got sha256"):
        results.load(merged.stem, merged.parent)


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write(path, "old")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        files.write(path, "new")
    assert snapshot(tmp_path) == {"x": b"old"}


# ----------------------------------------------------------------------------------- provenance
def test_the_commit_says_whether_the_code_was_changed(tmp_path, monkeypatch):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    commit = provenance.commit.__wrapped__
    assert commit() is None
    for folder in ("nflib_min", "reproduce"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").write_text("1", encoding="utf-8")
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    assert len(commit()) == 40
    (tmp_path / "reproduce" / "LEDGER.md").write_text("results are not code", encoding="utf-8")
    assert len(commit()) == 40
    (tmp_path / "nflib_min" / "x.py").write_text("2", encoding="utf-8")
    assert commit().endswith("-dirty") and len(commit()) == 46


# ------------------------------------------------------------------------------------ a cluster
@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler and two workers, each a process of its own: (address, workers)."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    about = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [
        python(
            *("-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", str(about)),
            **quiet,
        )
    ]
    try:
        wait_until(about.exists)
        wait_until(lambda: about.read_text(encoding="utf-8").strip().endswith("}"))
        address = json.loads(about.read_text(encoding="utf-8"))["address"]
        for _ in range(2):
            processes.append(
                python(
                    *("-m", "dask", "worker", address, "--nthreads", "1", "--no-nanny"),
                    *("--no-dashboard", "--local-directory", str(folder)),
                    **quiet,
                )
            )
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_midway_completes_every_task_once(tmp_path, cluster):
    from distributed import Client

    address, workers = cluster
    raw = tmp_path / "raw"
    tasks = [task(seed, steps=1000) for seed in range(12)]
    listed = ", ".join(f"({t.settings}, {t.seed})" for t in tasks)
    code = (
        "from reproduce import runs, fig3\n"
        f"tasks = [runs.Task(fig3.train, s, seed) for s, seed in ({listed})]\n"
        f"print(len(runs.run(tasks, {str(raw)!r}, {address!r})))"
    )
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=300)
    driver = python("-c", code, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: raw.exists() and len(list(raw.glob("*.json"))) >= 2)
    workers[0].kill()  # SIGKILL: no farewell to the scheduler
    done = len(list(raw.glob("*.json")))
    printed, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0 and printed.split() == ["12"]
    assert done < 12  # it was killed midway
    assert workers[1].poll() is None

    rows = runs.collect(tasks, raw, tmp_path / "merged.json")
    assert [row["seed"] for row in rows] == list(range(12))
    assert len(list(raw.glob("*.json"))) == 12
    assert values(rows) == values(runs.run(tasks, tmp_path / "alone", jobs=1))


def test_a_worker_with_two_threads_is_refused(tmp_path):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        with pytest.raises(ValueError, match=r"expected one thread .*got 2"):
            runs.run([task()], tmp_path / "raw", cluster.scheduler_address)
    assert not (tmp_path / "raw").exists()
