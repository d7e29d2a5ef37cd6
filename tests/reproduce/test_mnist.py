"""Figure 4 and table 2: one trunk a model, judged on the way; a small run of the real thing."""

import io

import numpy as np
import PIL.Image
import pytest

from reproduce import fig4, mnist, results
from reproduce.ledger.table_2 import difference
from reproduce.mnist_data import SUBSET
from reproduce.runs import collect, run

SMALL = {"images": 20, "images_5000": 0}


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    """500 + 20 digits of the notebooks' subset, so that an epoch is five steps."""
    with np.load(SUBSET) as data:
        train, test = (np.unpackbits(data[part], axis=1) for part in ("train", "test"))
    digits = (
        np.where(train[:500], 230, 20).astype(np.uint8),
        train[:500].astype(bool),
        test[:20].astype(bool),
    )
    monkeypatch.setattr(mnist, "digits", lambda folder: digits)


@pytest.mark.slow
def test_a_trunk_that_grows_is_the_training_in_one_go(tmp_path):
    first = mnist.mnist("planar", 3, 1, 0, **SMALL, trunk=str(tmp_path))
    grown = mnist.mnist("planar", 3, 3, 0, **SMALL, trunk=str(tmp_path))
    assert grown == mnist.mnist("planar", 3, 3, 0, **SMALL)
    assert grown["F_train"] < first["F_train"]
    assert len([*tmp_path.iterdir()]) == 1
    with pytest.raises(ValueError, match=r"steps: expected at least the 15 that checkpoint"):
        mnist.mnist("planar", 3, 2, 0, **SMALL, trunk=str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"redraw": True},
        {"annealing": True},
        {"printed_constraint": True},
        {"amortized": False},
        {"path_gradient": False},
        {"average": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_ablation_changes_the_numbers_and_has_a_trunk_of_its_own(tmp_path, change):
    plain = mnist.mnist("planar", 3, 5, 0, **SMALL, trunk=str(tmp_path))
    ablated = mnist.mnist("planar", 3, 5, 0, **SMALL, **change, trunk=str(tmp_path))
    assert plain != ablated and len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize("flow", ["none", "planar", "radial", "nice-perm"])
def test_every_flow_is_judged_by_bounds_that_are_in_order(flow):
    values = mnist.mnist(flow, 2, 1, 0, images=20, images_5000=3)
    assert values["F"] >= values["nll"] and values["KL"] == pytest.approx(
        values["F"] - values["nll"]
    )
    assert values["nll_200_of_these"] > values["nll_5000"] - 1
    assert all(np.all(np.isfinite(value)) for value in values.values())
    for name in ("F", "nll"):  # 20 digits, each a part of its own
        assert np.mean(values[f"{name}_parts"]) == pytest.approx(values[name], abs=1e-4)


def test_parts_of_the_digits_give_the_paired_error():
    """Two models on the same digits: the error of the difference is that of its digits."""
    rng = np.random.default_rng(0)
    digits = 90 + 22 * rng.standard_normal(10_000)
    each = [digits + rng.standard_normal(10_000) for _ in range(2)]
    rows = [
        {
            "settings": {"images": 10_000},
            "values": {"nll": float(of.mean()), "nll_parts": mnist.parts(of)},
        }
        for of in each
    ]
    gap, error = difference(rows[:1], rows[1:], "nll")
    per_digit = each[0] - each[1]
    assert gap == pytest.approx(per_digit.mean())
    assert error == pytest.approx(per_digit.std() / 100, rel=0.2)  # 100 parts: known to 7 %
    assert error < 0.1 * digits.std() / 100
    del rows[0]["values"]["nll_parts"]
    assert difference(rows[:1], rows[1:], "nll") == (gap, None)


def test_the_flows_by_name():
    assert mnist.flow_of("none", 0, False, 0) is None
    assert mnist.flow_of("planar", 4, True, 0).gain == 1.0
    one, two = (mnist.flow_of("nice-perm", 4, False, seed).orders for seed in (0, 1))
    assert any((a != b).any() for a, b in zip(one, two, strict=True))
    with pytest.raises(
        ValueError, match="flow: expected none, planar, radial or nice-perm, got 'x'"
    ):
        mnist.flow_of("x", 1, False, 0)


def test_every_table_cell_and_every_ablation_is_a_task_once():
    rounds = mnist.rounds(None, "trunk", last=80)
    assert len({task.name for tasks in rounds for task in tasks}) == sum(map(len, rounds))
    assert [{task.settings["epochs"] for task in tasks} for tasks in rounds] == [
        {10},
        {20},
        {40},
        {80},
    ]
    once = [e for e in mnist.ONE_DRAW_EPOCHS if e <= 80]
    assert sum(map(len, rounds)) == 4 * len(mnist.ROWS) + len(mnist.ABLATIONS) + len(
        mnist.ONE_DRAW
    ) * len(once)
    longer = {task.name for tasks in rounds for task in tasks}
    shorter = {task.name for tasks in mnist.rounds("elsewhere", "other", 20) for task in tasks}
    assert shorter < longer


@pytest.mark.slow
def test_rounds_are_run_collected_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "EPOCHS", {1: (20, 0), 2: (20, 2)})
    monkeypatch.setattr(mnist, "ONE_DRAW", (("none", 0),))
    monkeypatch.setattr(mnist, "ONE_DRAW_EPOCHS", (2,))
    monkeypatch.setattr(
        mnist, "ABLATIONS", ((1, "planar", 20, {"annealing": True}), (1, "radial", 20, {}))
    )
    monkeypatch.setattr(
        mnist, "ROWS", [("none", 0), ("planar", 10), ("planar", 80), ("nice-perm", 80)]
    )
    tasks = mnist.run_rounds(tmp_path, None, last=2, jobs=1, progress=False)
    rows = collect(tasks, tmp_path, tmp_path / "mnist.json")
    assert len(rows) == 11
    (once,) = [row for row in rows if "redraw" not in row["settings"]]
    assert once["settings"]["epochs"] == 2
    values = results.models(rows)
    assert results.longest(values) == 2 and len(values) == 8
    assert results.models(rows, redrawn=False).keys() == {("none", 0, 2)}
    assert [*results.against_K(values, "planar", "F", 2)] == [0, 10, 80]
    assert [*results.against_K(values, "nice-perm", "nll", 2)] == [0, 80]
    assert [*fig4.last(values, "planar")] == [0, 10, 80]
    picture = PIL.Image.open(io.BytesIO(fig4.figure(rows)))
    assert picture.width > 1000

    again = run(tasks, tmp_path, jobs=1, progress=False)  # nothing is trained a second time
    assert [record["values"] for record in again] == [row["values"] for row in rows]
    with pytest.raises(ValueError, match="expected one epoch that all models reached"):
        results.longest({("none", 0, 1): {}, ("planar", 10, 2): {}})
