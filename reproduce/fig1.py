"""The paper's figure 1: what 1, 2 and 10 planar or radial layers do to a Gaussian and to a square.

Nothing is trained. The paper does not print its layers; these were drawn at random, from one seed
for each kind. What can be asked of them: each density has mass 1, and each point comes back.
"""

import numpy as np

from nflib_min import Flow, Planar, Radial, StandardNormal, Uniform
from nflib_min.checks import round_trip_error, total_mass
from reproduce.runs import Task

LENGTHS = (1, 2, 10)
BASES = {"Gaussian": StandardNormal(2), "square": Uniform(2, -2.0, 2.0)}
KINDS = {"planar": (Planar, 8), "radial": (Radial, 11)}  # and the seed of its layers
VIEW = (-6.0, 6.0)


def layers(kind: str, seed: int) -> dict:
    """Ten random layers whose bends and dents are of the size of the base.

    >>> sorted(layers("radial", 0))
    ['beta', 'log_alpha', 'z_ref']
    """
    rng = np.random.default_rng(seed)
    if kind == "planar":
        u, w = 0.8 * rng.standard_normal((10, 2)), 1.2 * rng.standard_normal((10, 2))
        return {"u": u, "w": w, "b": rng.standard_normal(10)}
    centres, beta = rng.standard_normal((10, 2)), rng.uniform(-2, 3.5, 10)
    return {"z_ref": centres, "log_alpha": np.zeros(10), "beta": beta}


def panel(kind: str, base: str, K: int, seed: int) -> tuple[Flow, dict]:
    """The flow of one panel, and the first K of its kind's layers."""
    first = {name: value[:K] for name, value in layers(kind, seed).items()}
    return Flow(BASES[base], KINDS[kind][0](2, K)), first


def check(kind: str, base: str, K: int, points: int, version: int, seed: int) -> dict:
    """The mass of a panel's density on a grid over (-14, 14)^2, and the error of a round trip."""
    flow, params = panel(kind, base, K, seed)
    z0 = flow.base.sample(10_000, np.random.default_rng(0))
    mass = total_mass(lambda z: flow.log_prob(params, z), (-14.0, 14.0), points)
    return {"mass": mass, "round_trip": round_trip_error(flow.bijection, params, z0)}


def tasks(quick: bool = False) -> list[Task]:
    """One a panel: 2 kinds, 2 bases, 3 lengths; quick: on a coarser grid."""
    points = 300 if quick else 1000
    return [
        Task(check, {"kind": kind, "base": base, "K": K, "points": points, "version": 1}, seed)
        for kind, (_, seed) in KINDS.items()
        for base in BASES
        for K in LENGTHS
    ]


def figure() -> bytes:
    """The twelve panels and the two bases, as PNG: planar to the left, radial to the right."""
    from nflib_min.plotting import density, panels
    from reproduce.drawing import png

    fig, axes = panels(2, 7, size=1.5)
    for base, row in zip(BASES, axes, strict=True):
        density(row[0], BASES[base].log_prob, VIEW, title="$q_0$" if base == "Gaussian" else "")
        row[0].set_ylabel(f"{base}\n$z_2$")
        columns = [(kind, K) for kind in KINDS for K in LENGTHS]
        for (kind, K), ax in zip(columns, row[1:], strict=True):
            flow, params = panel(kind, base, K, KINDS[kind][1])
            title = f"{kind}, K = {K}" if base == "Gaussian" else ""
            density(ax, lambda z, f=flow, p=params: f.log_prob(p, z), VIEW, title=title)
    for ax in axes.flat:
        ax.label_outer()
    return png(fig)
