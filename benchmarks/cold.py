"""From a cold start to a trained flow: a process imports, trains on U1 and saves what it found.

`python -m benchmarks.cold NAME PATH` is what is timed, from before the process until after it. All
have the same architecture, start, steps and learning rates; their noise is their own. What each has
learned is judged afterwards, by one and the same code, from the effective parameters it saved.
"""

import math
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import cells
from benchmarks.cells import Cell

NAMES = ("ours", "torch", "normflows", "jax", "jax-layers", "flowjax")
# the fewest steps with which ours got to GOAL from six of eight starts, among 800, 1000, 1200, 1500
# at peaks of .02, .03, .04
LENGTH, BATCH, STEPS, PEAK = 32, 200, 1000, 0.03
SEED = 5
SLOW, SLOW_ROUNDS = ("torch", "normflows", "jax"), 3  # too long for every round
GOAL = 0.02  # nats
SAMPLES = 50_000


def start() -> dict[str, np.ndarray]:
    """Raw u, w, b of this library's initialisation; the others start from the same flow."""
    rng = np.random.default_rng(SEED)
    u, w = 0.01 * rng.standard_normal((LENGTH, 2)), rng.standard_normal((LENGTH, 2))
    return {"u": u, "w": w, "b": 2 * rng.standard_normal(LENGTH)}


def rate(step: int) -> float:
    """Half a cosine from PEAK to 0."""
    return 0.5 * PEAK * (1 + math.cos(math.pi * step / STEPS))


def cell() -> Cell:
    return Cell("planar", LENGTH, BATCH, "float64")


def effective_start() -> dict[str, np.ndarray]:
    """The same start as `cells.problem` gives it: u_hat, w and b."""
    given = start()
    return {**given, "u_hat": cells.effective("ours", given["u"], given["w"])}


def ours() -> dict:
    from nflib_min import Flow, Planar, StandardNormal
    from nflib_min.objectives import FreeEnergy
    from nflib_min.targets import table_1
    from nflib_min.training import fit

    flow = Flow(StandardNormal(2), Planar(2, length=LENGTH))
    loss = FreeEnergy(flow, table_1("U1"), BATCH)
    rng = np.random.default_rng(SEED)
    return fit(loss, start(), STEPS, rng, learning_rate=rate, progress=False).params


def on_torch(name: str) -> dict:
    import torch

    from benchmarks import with_torch

    torch.manual_seed(SEED)
    training = with_torch.build(cell(), name, effective_start())
    for step in range(STEPS):
        training.optimizer.param_groups[0]["lr"] = rate(step)
        training.run(1)
    return training.learned()


def on_jax(name: str) -> dict:
    import optax

    from benchmarks import with_jax

    schedule = optax.cosine_decay_schedule(PEAK, STEPS)  # the same as `rate`
    training = with_jax.build(cell(), name, effective_start(), schedule)
    training.run(STEPS)
    return training.learned()


def train(name: str) -> tuple[str, dict]:
    """The name of the constraint that the parameters are meant for, and u, w, b."""
    if name == "ours":
        return "ours", ours()
    if name in cells.JAX:
        return "flowjax" if name == "flowjax" else "ours", on_jax(name)
    return "printed" if name == "normflows" else "ours", on_torch(name)


def kl(u_hat: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """KL(q_K || U1) of what a process saved, and its standard error, by SAMPLES draws."""
    from nflib_min import Flow, Planar, StandardNormal
    from nflib_min.objectives import kl_to_target
    from nflib_min.targets import table_1

    flow = Flow(StandardNormal(2), Planar(2, length=LENGTH))
    params = {"u": cells.raw("ours", u_hat, w), "w": w, "b": b}
    return kl_to_target(params, flow, table_1("U1"), SAMPLES, np.random.default_rng(0))


def measure(rounds: int) -> dict:
    """Rounds of all processes in turn; a first round, untimed, warms the file system's cache."""
    from benchmarks import driver

    found = {name: {"wall": [], "cpu": [], "kl": []} for name in NAMES}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "learned.npz"
        for r in range(-1, rounds):
            for name in NAMES:
                if name in SLOW and r >= SLOW_ROUNDS:
                    continue
                seconds = driver.run(["-m", "benchmarks.cold", name, str(path)])
                if r < 0:
                    with np.load(path) as file:
                        found[name]["kl"] = kl(**file)
                else:
                    found[name]["wall"].append(seconds["wall"])
                    found[name]["cpu"].append(seconds["cpu"])
    setting = {"length": LENGTH, "batch": BATCH, "steps": STEPS, "peak": PEAK, "samples": SAMPLES}
    return {"cell": {"kind": "cold", **setting}, "goal": GOAL, "contenders": found}


def main() -> None:
    name, path = sys.argv[1:]
    constraint, p = train(name)
    np.savez(path, u_hat=cells.effective(constraint, p["u"], p["w"]), w=p["w"], b=p["b"])


if __name__ == "__main__":
    main()
