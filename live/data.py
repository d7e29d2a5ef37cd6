"""The data that the live figures come with: `python -m live data`, five minutes on one core."""

import json
import subprocess
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from live import FOLDER, rounded
from live.library import (
    Flow,
    FreeEnergy,
    Gaussian,
    ODEFlow,
    Planar,
    StandardNormal,
    clock,
    cosine_decay,
    fit,
    fokker_planck,
    fokker_planck_rates,
    grid,
    kl_by_quadrature,
    kl_to_target,
    table_1,
)

LIMIT = 150_000  # bytes of a file
TARGET, SEEDS = "U4", range(6)


def commit() -> str:
    """The commit of the code that made the data."""
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, check=True
    ).stdout.strip()


# ------------------------------------------------------------------------------ depth and time
def depth() -> dict:
    """The best of some planar flows and of some ODE flows, each as parameters and KL(q || p)."""
    planar = Flow(StandardNormal(2), Planar(2, length=32))
    ode = Flow(StandardNormal(2), ODEFlow(2, width=32, steps=8))
    return {"target": TARGET, "planar": best(planar, 6000), "ode": best(ode, 4000)}


def best(flow: Flow, steps: int) -> dict:
    target = table_1(TARGET)
    runs = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        loss = FreeEnergy(
            flow, target, batch=256, annealing=lambda step: min(1.0, 0.01 + 2 * step / steps)
        )
        rate = cosine_decay(1e-2, steps)
        params = fit(loss, flow.init(rng), steps, rng, learning_rate=rate).params
        kl = kl_to_target(params, flow, target, 50_000, np.random.default_rng(99))[0]
        runs.append((kl, seed, params))
        print(f"{flow.bijection}: seed {seed}, KL {kl:.3f}", flush=True)
    kl, seed, params = min(runs, key=lambda run: run[0])
    return {name: p.tolist() for name, p in params.items()} | {"seed": seed, "kl": kl}


# ------------------------------------------------------------------------------ hold the bound
def bound() -> dict:
    """The Gaussians with the least KL(q || p) and KL(p || q), upright and tilted, by quadrature."""
    return {name: optima(target) for name, target in (("clock", clock()), ("U1", table_1("U1")))}


def optima(target) -> dict:
    z, cell = grid((-8.0, 8.0), 160)
    p = np.exp(target.log_prob(z)) * cell
    mean = p @ z
    forward = (z - mean).T @ ((z - mean) * p[:, None])

    def kl(x: np.ndarray, tilted: bool) -> float:
        q = Gaussian(x[:2], covariance(x[2:4], x[4] if tilted else 0.0))
        return kl_by_quadrature(q.log_prob, target.log_prob, (-8.0, 8.0), 160)

    reverse = {}
    for kind, tilted in (("straight", False), ("tilted", True)):
        starts = [np.array([*mean, -0.5, -0.7, -0.6]), np.array([1.9, 0.1, -1.0, -0.5, 0.1])]
        found = min((minimize(kl, x, args=(tilted,)) for x in starts), key=lambda run: run.fun)
        reverse[kind] = describe(found.x[:2], covariance(found.x[2:4], found.x[4] * tilted))
    return {
        "reverse": reverse,
        "forward": {
            "straight": describe(mean, np.diag(np.diag(forward))),
            "tilted": describe(mean, forward),
        },
    }


def covariance(log_sd: np.ndarray, tilt: float) -> np.ndarray:
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    return turn @ np.diag(np.exp(2 * log_sd)) @ turn.T


def describe(mean: np.ndarray, S: np.ndarray) -> dict:
    """A Gaussian as the figure holds it: mean, standard deviations, tilt of the first axis."""
    if S[0, 1] == 0:
        return {"mean": mean.tolist(), "sd": np.sqrt(np.diag(S)).tolist(), "tilt": 0.0}
    values, axes = np.linalg.eigh(S)
    tilt = float(np.arctan2(axes[1, 1], axes[0, 1]))
    return {"mean": mean.tolist(), "sd": np.sqrt(values[::-1]).tolist(), "tilt": tilt}


# ---------------------------------------------------------------------------------- start here
def start() -> dict:
    """KL(q_t || p) by Fokker-Planck, for a blob that starts inside the right moon."""
    place, reach, points, dt = [1.9, 0.0], 3.5, 56, 0.0025
    z, cell = grid((-reach, reach), points)
    log_p = table_1("U1").log_density(z)
    rates = fokker_planck_rates(lambda z: -table_1("U1").log_density(z), z, cell)
    p = np.exp(log_p) / (np.exp(log_p).sum() * cell)
    q = np.exp(-((z - place) ** 2).sum(axis=1) / 2 / 0.35**2)
    q, steps, curve = q / (q.sum() * cell), 0, []
    for t in np.geomspace(0.01, 100, 90):
        more = round(t / dt) - steps
        q, steps = (fokker_planck(q, rates, dt, more), steps + more) if more else (q, steps)
        inside = q > 0
        kl = float(np.sum(q[inside] * np.log(q[inside] / p[inside])) * cell)
        curve.append([steps * dt, kl])
    return {"start": place, "kl": curve}


# ------------------------------------------------------------------------------------- writing
FILES = {"depth": depth, "bound": bound, "start": start}


def write(folder: Path = FOLDER / "data", names: list[str] | None = None) -> None:
    """Write each file whole or not at all, with the commit that made it and its licence."""
    for name in names or FILES:
        if name not in FILES:
            raise ValueError(f"live data: expected one of {', '.join(FILES)}, got {name!r}")
    folder.mkdir(exist_ok=True)
    for name in names or FILES:
        about = {
            "made_by": f"python -m live data {name}",
            "commit": commit(),
            "licence": "CC BY 4.0",
        }
        text = json.dumps(rounded({**FILES[name](), **about}, 5), separators=(",", ":"))
        if len(text) > LIMIT:
            raise ValueError(f"{name}.json: expected at most {LIMIT} bytes, got {len(text)}")
        draft = folder / f"{name}.json.draft"
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(folder / f"{name}.json")
        print(f"{name}.json: {len(text)} bytes")
