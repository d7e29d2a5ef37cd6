"""The figures of the short post, one function each; what they show is computed there."""

from functools import partial

import numpy as np

import live
from nflib_min import StandardNormal, plotting
from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET

GREY = "0.45"
PATCHES = {"A": (-0.4, -0.4), "B": (0.8, 0.4)}  # lower left corners
SIDE = 0.8


def label(axes):
    """The names of the coordinates, at the left and at the bottom only."""
    for ax in axes.flat:
        ax.set(xlabel="km east", ylabel="km north")
        ax.label_outer()


def three_beliefs(p, log_q, lost):
    """The posterior, and two approximations of it with the nats that each loses."""
    fig, axes = plotting.panels(1, 3, size=2.7)
    fig.set_size_inches(8.1, 3.4)
    plotting.density(axes[0, 0], p.log_prob, title=r"the posterior $p(z \mid x)$")
    for ax, (name, of) in zip(axes[0, 1:], log_q.items(), strict=True):
        plotting.density(ax, of, title=f"{name}\nloses {lost[name]:.2f} nats")
    for ax in axes.flat:
        ax.plot(0, 0, "+", color="white", markersize=8)
    label(axes)
    plotting.show(fig)


def areas(f):
    """A grid and where f takes it, with two squares, their areas, and what becomes of a density."""
    fig, ((left, right),) = plotting.panels(1, 2, size=3.6)
    thinner = []
    for ax, move, color in ((left, lambda z: z, BASE), (right, f, FLOW)):
        plotting.warped_grid(ax, move, (-4.0, 4.0), 21, (-2.4, 2.4), color)
        for name, corner in PATCHES.items():
            outline = move(border(corner))
            ax.fill(*outline.T, color=LOG_DET, alpha=0.5)
            area, middle = shoelace(outline), outline.mean(axis=0)
            ax.text(*middle, f"{name}\n{area:.2f}", ha="center", va="center", weight="bold")
            thinner.append(f"{name} \u00d7 {SIDE**2 / area:.2f}")
    left.set(title="$z_0$", xlabel="two equal areas", ylabel="")
    right.set(title="$z_1 = f(z_0)$", xlabel="density: " + ",  ".join(thinner[2:]), ylabel="")
    live.show("planar", fig, beside=True)


def border(corner, points=60):
    """The points of a square's border, in order, (4 points, 2)."""
    along, zero = np.linspace(0, SIDE, points), np.zeros(points)
    sides = [(along, zero), (zero + SIDE, along), (SIDE - along, zero + SIDE), (zero, SIDE - along)]
    return np.array(corner) + np.concatenate([np.stack(side, axis=1) for side in sides])


def shoelace(outline):
    """The area that a closed line of (n, 2) points surrounds."""
    x, y = outline.T
    return 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def stages(flow, params, p, after=(4, 8, 12, 16)):
    """The density and the grid after some of the layers, between the base and the posterior."""
    affine, layers = params
    fig, axes = plotting.panels(2, len(after) + 2, size=1.5)
    plotting.density(axes[0, 0], StandardNormal(2).log_prob, title="$z_0$")
    plotting.warped_grid(axes[1, 0], lambda z: z, lines=11, color=BASE)
    for k, column in zip(after, axes.T[1:-1], strict=True):
        some = [affine, {name: value[:k] for name, value in layers.items()}]
        short = type(flow)(flow.base, first(flow.bijection, k))
        plotting.density(column[0], partial(short.log_prob, some), title=f"$z_{{{k}}}$")
        plotting.warped_grid(column[1], partial(short.bijection.forward, some), lines=11)
    plotting.density(axes[0, -1], p.log_prob, title=r"$p(z \mid x)$")
    plotting.samples(axes[1, -1], p.sample(1500, np.random.default_rng(1)), color=TARGET)
    label(axes)
    plotting.show(fig)


def first(chain, k):
    """The same chain, its stack of planar layers cut after k."""
    affine, stack = chain.maps
    return type(chain)([affine, type(stack)(stack.dim, length=k)])


def evidence(kl, gaussian, printed, ours):
    """Divergence against length on four densities; -ln p(x) of digits, the paper's and ours."""
    fig, ((left, right),) = plotting.panels(1, 2, size=3.6)
    looks = zip(kl.items(), "os^D", ("-", ":", "--", "-."), (0.86, 0.95, 1.05, 1.16), strict=True)
    for (name, by_length), mark, style, beside in looks:
        K = beside * np.array([*by_length])  # side by side, so that no seed hides another
        values = np.array([*by_length.values()])
        left.plot(K, values, mark, color=FLOW, markersize=4, alpha=0.5, markeredgewidth=0)
        median = np.median(values, axis=1)
        left.plot(K, median, style + mark, color=FLOW, markersize=6, label=f"$U_{name[-1]}$")
    left.axhline(gaussian, color=GREY, linewidth=1)
    left.text(60, 1.06 * gaussian, "best independent Gaussian, $U_1$", color=GREY, ha="right")
    left.set(xscale="log", yscale="log", xlabel="planar layers $K$", xlim=(1.5, 65))
    left.set(ylabel=r"KL$(q_K \,\Vert\, p)$, nats", title="four densities, ten seeds each")
    left.set_xticks([2, 8, 32], ["2", "8", "32"])
    left.minorticks_off()
    left.legend(frameon=False, loc="lower left")
    right.plot([*printed], [*printed.values()], "s--", color=GREY, label="the paper")
    right.plot([*ours], [*ours.values()], "o-", color=FLOW, label="ours")
    right.set(xlabel="planar layers $K$", ylabel=r"$-\ln p(x)$, nats", title="MNIST")
    right.set_xticks([0, 10, 20, 40, 80])
    right.legend(frameon=False)
    plotting.show(fig)
