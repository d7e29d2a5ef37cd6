"""The figures of notebook 08, one function each; what they show is computed there."""

import numpy as np

from nflib_min import plotting
from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET

GREY = "0.45"


def two_posteriors(p, lost, kept):
    """The target's density, and draws of a density without the lower branch and of a flow."""
    fig, (axes,) = plotting.panels(1, 3, size=2.8)
    plotting.density(axes[0], p.log_prob, title="target $p$: $U_3$")
    for ax, draws, title in zip(axes[1:], (lost, kept), ("$q_a$", "$q_b$"), strict=True):
        plotting.samples(ax, draws, title=title)
    plotting.show(fig)


def jacobians(matrices, errors):
    """What three kinds of layers add to the identity, and an inverse found sweep by sweep."""
    fig, axes = plotting.panels(1, len(matrices) + 1, size=2.1)
    fig.set_size_inches(8.4, 2.7)
    for ax, (name, J) in zip(axes[0], matrices.items(), strict=False):
        size = np.abs(J - np.eye(len(J)))
        ax.imshow(size / size.max(), cmap="Greys")
        ax.set(title=name, xticks=[], yticks=[])
    ax = axes[0, -1]
    sweeps, coordinates = errors.shape
    right = errors < 1e-12
    ax.imshow(~right, cmap="Greys", vmin=0, vmax=2.2, origin="lower", aspect="auto")
    ax.set(title="inverse", xlabel="coordinate", ylabel="sweeps made")
    ax.set_xticks(range(coordinates), range(1, coordinates + 1))
    ax.set_yticks(range(sweeps), range(1, sweeps + 1))
    ax.text(coordinates - 1.4, 0.4, "wrong", ha="right", va="center", fontsize=9)
    ax.text(0.1, sweeps - 1.6, "right", va="center", fontsize=9)
    plotting.show(fig)


def sandwich(bounds, ln_Z):
    """For each q its lower and its upper bound, with ln Z between them."""
    fig, ((ax,),) = plotting.panels(1, 1)
    fig.set_size_inches(7.4, 2.5)
    for y, (below, above) in enumerate(bounds.values()):
        ax.plot([below, above], [y, y], color="0.8", lw=6, solid_capstyle="butt")
        ax.plot(below, y, "o", color=FLOW, label="ELBO" if y == 0 else None)
        ax.plot(above, y, "s", color=LOG_DET, label="EUBO" if y == 0 else None)
    ax.axvline(ln_Z, color=TARGET, ls="--", lw=1.5, label=r"$\ln Z$")
    ax.set_yticks(range(len(bounds)), bounds)
    ax.set(xlabel="nats", ylim=(len(bounds) - 0.5, -0.5))
    ax.legend(frameon=False, loc="center right")
    plotting.show(fig)


def chains(traces):
    """The first coordinate of one chain along its steps, one panel a chain."""
    fig, axes = plotting.panels(len(traces), 1)
    fig.set_size_inches(7.6, 1.25 * len(traces) + 0.5)
    for (ax,), (name, trace) in zip(axes, traces.items(), strict=True):
        ax.plot(trace, ".-", color=FLOW if "flow" in name else GREY, lw=0.6, ms=2.5)
        ax.set(ylabel="$z_1$", ylim=(-5.2, 5.2), xlim=(0, len(trace)))
        ax.set_title(name, fontsize=10)
        ax.label_outer()
    axes[-1, 0].set_xlabel("step")
    plotting.show(fig)


def paths(straight, carried):
    """Pairs joined by straight lines, what the mean velocity makes of them, and where they end."""
    fig, (axes,) = plotting.panels(1, 3, size=2.8)
    titles = "pairs, joined straight", "paths of $v$", "where $v$ takes them"
    for ax, lines, title in zip(axes, (straight, carried, None), titles, strict=True):
        if lines is None:
            plotting.samples(ax, carried[-1], title=title)
            continue
        ax.plot(lines[:, :120, 0], lines[:, :120, 1], color="0.7", lw=0.6)
        ax.plot(*lines[0, :120].T, ".", color=BASE, ms=3)
        ax.plot(*lines[-1, :120].T, ".", color=TARGET if lines is straight else FLOW, ms=3)
        plotting.square(ax, (-4.0, 4.0), title)
    plotting.show(fig)
