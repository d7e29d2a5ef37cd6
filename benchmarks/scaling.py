"""This library's step alone: how its cost grows, what memory it takes, where the time goes."""

import time
import tracemalloc

import numpy as np
from threadpoolctl import threadpool_limits

from nflib_min import Flow, Planar, StandardNormal
from nflib_min._arrays import check_params, check_points
from nflib_min._state import TrainingState
from nflib_min._trees import tree_leaves, tree_unflatten
from nflib_min.fast import buffers, planar
from nflib_min.objectives import FreeEnergy
from nflib_min.targets import Target, table_1

REPEATS, SWEPT = 15, 5  # steps of a size, of which the best counts; whole sweeps, the median
# (K, D, n), one of them growing, each large enough that arithmetic outweighs the calls,
# and none too large for the processor's cache, whose loss is a step of its own
SWEEPS = {
    "K": [(K, 2, 4000) for K in (16, 32, 64, 128, 256)],
    "D": [(16, D, 50) for D in (128, 256, 512, 1024, 2048)],
    "batch": [(32, 2, n) for n in (2000, 4000, 8000, 16000, 32000)],
}
PROFILED = [(2, 100), (8, 100), (32, 100), (32, 1000)]
MEMORY = [(32, 2, 1000), (32, 2, 10_000), (32, 16, 1000), (8, 64, 1000)]


def step_of(K: int, D: int, n: int) -> object:
    """One loss and gradient against a standard normal target, whose cost is small."""
    flow = Flow(StandardNormal(D), Planar(D, length=K))
    gaussian = Target(flow.base.log_prob, D, gradient=lambda z: (flow.base.log_prob(z), -z))
    loss, rng = FreeEnergy(flow, gaussian, n), np.random.default_rng(0)
    params = flow.init(rng)
    params["w"] /= np.sqrt(D)
    return lambda: loss.value_and_grad(params, rng, 0)


def seconds(step: object, repeats: int = REPEATS) -> float:
    """The best of several, since only growth and shares matter here."""
    step()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    return min(times)


def slope(sizes: list[int], costs: list[float]) -> float:
    """Least squares of ln cost on ln size: p where cost grows as size^p."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def peak_bytes(K: int, D: int, n: int) -> int:
    """The most memory that one step holds at a time, buffers and results included."""
    step = step_of(K, D, n)
    buffers.POOL.clear()  # buffers of an earlier step of this shape would not be counted
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


# ---------------------------------------------------------------------- where a step goes
def parts(K: int, n: int, dtype: str = "float64") -> dict[str, float]:
    """Seconds of each part of one planar step of `fit`, D = 2, each timed by itself.

    tanh is a part of the sweeps, listed because it is the one thing that nobody can leave out.
    """
    flow, target, rng = (
        Flow(StandardNormal(2), Planar(2, K)),
        table_1("U1"),
        np.random.default_rng(0),
    )
    state = TrainingState(
        tree_unflatten(given := flow.init(rng), (p.astype(dtype) for _, p in tree_leaves(given)))
    )
    params, loss = state.params, FreeEnergy(flow, target, n)
    z0 = flow.base.sample(n, rng, np.dtype(dtype).type)
    zK, log_det, pullback = flow.bijection.forward_with_pullback(params, z0)
    g_zK, g_log_det = np.full_like(zK, 1e-3), np.full_like(log_det, 1e-3)
    g = pullback(g_zK, g_log_det)[0]
    h = np.empty((K, n), dtype)

    def tanh() -> None:
        for row in h:
            np.tanh(row, out=row)

    def checks() -> None:
        check_points(z0, 2, "z0")
        check_points(zK, 2, "zK")
        check_params(flow.bijection, params, flow.bijection.shapes, n)

    calls = {
        "the whole step": lambda: state.update(*loss.value_and_grad(params, rng, 0), 0.0, 10.0),
        "draw z_0": lambda: flow.base.sample(n, rng, np.dtype(dtype).type),
        "ln q_0": lambda: flow.base.log_prob(z0),
        "sweep forward": lambda: planar.sweep(flow.bijection, params, z0),
        "sweep back": lambda: pullback(g_zK, g_log_det),
        "of the sweeps, tanh": tanh,
        "target and its gradient": lambda: target.log_density_and_grad(zK),
        "arguments checked": checks,
        "Adam": lambda: state.update(0.0, g, 0.0, 10.0),
    }
    return {name: seconds(call, repeats=300) for name, call in calls.items()}


@threadpool_limits.wrap(limits=1)
def measure() -> dict:
    grown = {}
    for i, (name, sizes) in enumerate(SWEEPS.items()):
        costs = list(np.median([[seconds(step_of(*s)) for s in sizes] for _ in range(SWEPT)], 0))
        along = [size[i] for size in sizes]
        grown[name] = {"sizes": sizes, "seconds": costs, "slope": slope(along, costs)}
    memory = [
        {"size": size, "states": 8 * int(np.prod(size)), "peak": peak_bytes(*size)}
        for size in MEMORY
    ]
    profile = [{"size": size, "seconds": parts(*size)} for size in PROFILED]
    return {"cell": {"kind": "scaling"}, "sweeps": grown, "memory": memory, "profile": profile}
