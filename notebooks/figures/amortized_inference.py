"""The figures of notebook 05."""

import matplotlib.pyplot as plt
import numpy as np

from nflib_min.plotting import FLOW, TARGET, density, panels, show
from reproduce import results
from reproduce.results import paper


def six_posteriors(every_x, log_q, model, theta):
    fig, axes = panels(3, 6, size=1.4)
    for i, column in zip((0, 2, 11, 13, 10, 15), axes.T, strict=True):
        x, window = every_x[i], (-3.0, 3.0)
        label = " ".join("no" if answer == 0 else "yes" for answer in x)
        density(column[0], lambda z, x=x: model.log_joint(theta, x[None], z), window, 100, label)
        column[0].title.set_fontsize(8)
        for ax, name in zip(column[1:], ("q_0 alone", "a flow for each x"), strict=True):
            density(ax, lambda z, x=x, name=name: log_q(name, x, z), window, 100)
    for ax, name in zip(axes[:, 0], ("true $p(z|x)$", "$q_0(z|x)$", "$q_K(z|x)$"), strict=True):
        ax.set_ylabel(f"{name}\n$z_2$", labelpad=-4)
    for ax in axes.flat:
        ax.label_outer()
    show(fig)


def more_draws(kl, marks, rest, sizes):
    fig, ax = plt.subplots(figsize=(5.8, 3.2), layout="constrained")
    for name, (color, mark) in zip(kl, marks, strict=True):
        values = [rest[name, S] for S in sizes]
        ax.semilogx(sizes, values, f"{mark}-", color=color, label=name.replace("q_0", "$q_0$"))
    ax.axhline(0, color=TARGET, ls="--", label=r"exact $\ln p(x)$")
    ax.set(xlabel="draws $S$", ylabel=r"$\ln p(x)$ minus the bound (nats)")
    ax.set_xticks(sizes, [f"{S:,}" for S in sizes])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=8)
    show(fig)


def digits(rows):
    fig, axes = plt.subplots(3, 1, figsize=(7.6, 2.7), layout="constrained")
    for ax, (name, images) in zip(axes, rows.items(), strict=True):
        ax.imshow(np.hstack(images.reshape(10, 28, 28)), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    show(fig)


def figure_4(epochs, gains, looked_at, paper_gain, values):
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.5), layout="constrained")
    for flow, color, mark in (("planar", FLOW, "o"), ("nice-perm", "0.35", "s")):
        for ax, name, printed in zip(
            axes, ("F", "KL"), (paper.FIG_4_F, paper.FIG_4_KL), strict=False
        ):
            ours, theirs = results.against_K(values, flow, name, epochs), printed.get(flow, {})
            ax.plot([*ours], [*ours.values()], f"{mark}-", color=color, label=f"{flow}, ours")
            label = f"{flow}, paper" if theirs else None
            ax.plot(
                [*theirs], [*theirs.values()], f"{mark}--", color=color, mfc="white", label=label
            )
            ax.set(xlabel="length $K$", ylabel="nats", xticks=(0, 10, 20, 40, 80))
        axes[2].plot(*gains[flow], f"{mark}-", color=color, label=f"{flow}, $K = 80$, ours")
    axes[2].axhline(paper_gain, color=FLOW, ls="--", label="planar, paper, 833 epochs")
    axes[2].set(xlabel="epochs", ylabel="nats", ylim=(0, 5.5), xticks=looked_at)
    titles = (
        "free energy $F$",
        "$\\mathrm{KL}(q\\,\\Vert\\,p(z|x))$",
        "gain in $-\\ln p$ over $K = 0$",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        ax.legend(frameon=False, fontsize=7)
    show(fig)
