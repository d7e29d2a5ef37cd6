"""The figures of notebook 07, one function each; what they show is computed there."""

from functools import partial

import numpy as np
from matplotlib.patches import Rectangle

import live
from nflib_min import checks, plotting
from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET

GREY = "0.45"
LOOKS = [("-", FLOW), ("--", LOG_DET), (":", LOG_DET), ("-.", LOG_DET)]


def wide(columns: int, height: float, width: float = 8.4):
    """A figure of panels side by side that are not square, and its axes."""
    fig, (axes,) = plotting.panels(1, columns)
    fig.set_size_inches(width, height)
    return fig, axes


def fourteen_losses(letters, runs):
    """The training loss of each program, on a scale of its own, in the order of the letters."""
    fig, axes = plotting.panels(2, 7, size=1.2)
    fig.set_size_inches(8.4, 2.9)
    for ax, (name, letter) in zip(
        axes.ravel(), sorted(letters.items(), key=lambda pair: pair[1]), strict=True
    ):
        loss = runs[name].history["loss"].reshape(-1, 5).mean(axis=1)  # blocks of five steps
        ax.plot(np.arange(2, 150, 5), loss, color=GREY, lw=1.5)
        ax.set_title(letter, fontsize=10, pad=3)
        ax.set(xticks=[], yticks=[])
    fig.supxlabel("150 steps", fontsize=9)
    fig.supylabel("loss", fontsize=9)
    plotting.show(fig)


def determinants(programs, probe, wrong):
    """Log-determinants along a line, and what a constant in the logarithm does in D dimensions."""
    fig, (left, right) = wide(2, 3.4)
    place = np.linspace(-3, 3, 301)
    line = np.stack([place, 0.3 * place], axis=1)
    truth = checks.log_det_by_autodiff(programs["correct"], probe, line)
    left.plot(place, truth, color="0.8", lw=7, label="derivative of the map")
    for name, (style, color) in zip(("correct", *wrong), LOOKS, strict=True):
        log_det = programs[name].forward_and_log_det(probe, line)[1]
        left.plot(place, log_det, style, color=color, lw=1.8, label=name)
    left.set(xlabel=r"place along a line of $\epsilon$", ylabel="log-det, nats", ylim=(-3, 11))
    left.legend(frameon=False, fontsize=8, loc="upper left", ncols=2, columnspacing=1)
    D = np.arange(61)
    right.plot(D, D * np.log(0.5), color=FLOW, lw=2, label="ln(det)")
    right.plot(D, np.log(0.5**D + 1e-6), "--", color=LOG_DET, lw=2, label="ln(det + 1e-6)")
    right.set(xlabel="D coordinates, each halved", ylabel="log-det, nats")
    right.legend(frameon=False, fontsize=8)
    plotting.show(fig)


def folds(c, bends, places, arrives):
    """The map along w for three constraints, and where the fixed-point inverse arrives."""
    fig, (left, right) = wide(2, 3.4)
    a = np.linspace(-4, 4, 401)
    for (name, value), (style, color) in zip(c.items(), LOOKS[:3], strict=True):
        left.plot(a, a + value * np.tanh(a), style, color=color, lw=1.8, label=name)
    left.set(xlabel="$w^T z$ before the layer", ylabel="after the layer")
    left.set(xlim=(-4, 4), ylim=(-4, 4))
    left.legend(frameon=False, fontsize=8, loc="upper left")
    right.contourf(bends, places, ~arrives.T, [0.5, 1.5], colors=[LOG_DET], alpha=0.45)
    right.text(3.4, 0, "it never arrives", ha="center", va="center", fontsize=9)
    right.text(1.6, 6, "it arrives", ha="center", fontsize=9)
    right.set(xlabel="bend $c$ of the layer", ylabel="$w^T z$ after the layer")
    live.show("cobweb", fig, beside=True)


def bounds_above(losses, bounds, log_Z):
    """The bounds that four programs report while they train, and the line they must not cross."""
    fig, (ax,) = wide(1, 3.6, 7.4)
    for name, bound, (style, color) in zip(("correct", *losses), bounds, LOOKS, strict=True):
        blocks = bound.reshape(-1, 5).mean(axis=1)
        ax.plot(np.arange(2, 150, 5), blocks, style, color=color, lw=2, label=name)
    ax.axhline(log_Z, color=TARGET, ls="--", lw=1, label=r"$\ln Z = \ln p(x)$")
    ax.set(xlabel="step", ylabel="bound reported, nats", ylim=(-8, 8))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    plotting.show(fig)


def who_notices(checks, alarms, letters, size):
    """A row a program, a column a check: the alarm's size, or a dot where nothing is said."""
    fig, (ax,) = wide(1, 4.9, 8.2)
    for y, (name, found) in enumerate(alarms.items()):
        ink = FLOW if name == "correct" else "black"
        ax.text(-0.75, y, letters[name], ha="center", va="center", fontsize=9, color=ink)
        for x, check in enumerate(checks):
            if check in found:
                box = Rectangle((x - 0.45, y - 0.4), 0.9, 0.8, facecolor=LOG_DET, alpha=0.45, lw=0)
                ax.add_patch(box)
                ax.text(x, y, size(found[check]), ha="center", va="center", fontsize=8)
            else:
                ax.plot(x, y, ".", color="0.7", ms=4)
    ax.axvline(1.5, color="0.5", lw=0.8)
    for y in (0.5, 5.5, 8.5, 11.5):  # right, determinant, map, loss, use
        ax.axhline(y, color="0.5", lw=0.8)
    ax.set(xlim=(-0.95, len(checks) - 0.4), ylim=(len(alarms) - 0.4, -0.6))
    ax.set_xticks(range(len(checks)), checks, fontsize=9)
    ax.set_yticks(range(len(alarms)), alarms, fontsize=9)
    ax.get_yticklabels()[0].set_color(FLOW)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    for side in ax.spines.values():
        side.set_visible(False)
    plotting.show(fig)


def two_islands(target, flow, lost, ends):
    """The target, a run that lost half of it, and the divergence of every run by its start."""
    fig, ((one, two, right),) = plotting.panels(1, 3, size=2.8)
    plotting.density(one, target.log_prob, (-8.0, 8.0), title="target")
    plotting.density(two, partial(flow.log_prob, lost), (-8.0, 8.0), title="a run that lost half")
    for x, values in enumerate(ends.values()):
        spread = x + np.linspace(-0.2, 0.2, len(values))
        right.plot(spread, values, "o", color=FLOW, ms=5, alpha=0.8)
    right.axhline(np.log(2), color=TARGET, ls="--", lw=1)
    right.text(0.6, 0.71, r"$\ln 2$", color=TARGET)
    right.set_xticks(range(len(ends)), [name.replace(", ", ",\n") for name in ends], fontsize=8)
    right.set(ylabel="KL(q || p), nats", ylim=(-0.02, 0.8), title="five seeds each")
    plotting.show(fig)


def tails(target, flow, params, sizes, shares):
    """Log densities along a ray, and the share of effective draws, a line for each seed."""
    r = np.linspace(0, 12, 200)
    fig, (left, right) = wide(2, 3.3)
    ray = np.stack([r, 0 * r], axis=1)
    left.plot(r, target.log_prob(ray), "--", color=TARGET, lw=2, label="target")
    left.plot(r, flow.log_prob(params, ray), color=FLOW, lw=2, label="flow, K = 8")
    left.set(xlabel="$z_1$, with $z_2 = 0$", ylabel="log density, nats", ylim=(-32, 0))
    left.legend(frameon=False)
    for (name, lines), style, color in zip(shares.items(), "-:", (FLOW, BASE), strict=True):
        drawn = right.semilogx(sizes, np.transpose(lines), style, color=color, lw=1.5)
        drawn[0].set_label(name)
    right.set(xlabel="draws n", ylabel="effective sample size / n", ylim=(0, 1.05))
    right.legend(frameon=False, loc="lower left")
    plotting.show(fig)
