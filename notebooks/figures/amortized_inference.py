"""The figures of notebook 05, one function each; what they show is computed there."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from nflib_min import checks, plotting
from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET
from reproduce import results
from reproduce.results import paper

GREY = "0.45"
LOOKS = {
    "q_0 alone": (BASE, "s"),
    "one flow for all x": (LOG_DET, "^"),
    "a flow for each x": (FLOW, "o"),
}


def spoken(x):
    """Four answers in words: "no no no yes"."""
    return " ".join("yes" if answer else "no" for answer in x)


def pretty(name):
    return name.replace("q_0", "$q_0$").replace(" x", " $x$")


def four_questions(logits, x):
    """The borders of the four questions in the plane, and where z was if it answered x."""
    window = (-3.0, 3.0)
    z, _ = checks.grid(window, 240)
    asked, z1, z2 = logits(z), *z.T.reshape(2, 240, 240)
    fig, ((left, right),) = plotting.panels(1, 2, size=3.3)
    prior = np.exp(-0.5 * (z1**2 + z2**2))
    left.contour(z1, z2, prior, np.exp([-2.0, -0.5]), colors="0.75", linewidths=1)
    for question, style in zip(asked.T, ("-", "--", ":", "-."), strict=True):
        left.contour(z1, z2, question.reshape(240, 240), [0], colors=TARGET, linestyles=style)
    for number, at in (
        ("1", (1.12, -0.94)),
        ("2", (-2.2, 1.35)),
        ("3", (0.84, 2.45)),
        ("4", (-0.4, 2.45)),
    ):
        left.text(*at, number, color=TARGET, fontsize=12, weight="bold")
    plotting.square(left, window, "four questions")
    log_p = -0.5 * (z**2).sum(axis=1) - np.logaddexp(0, np.where(x, -asked, asked)).sum(axis=1)
    right.imshow(
        np.exp(log_p).reshape(240, 240),
        origin="lower",
        extent=(*window, *window),
        cmap=plotting.DENSITY,
    )
    plotting.square(right, window, f'$p(z \\mid x)$, "{spoken(x)}"')
    plotting.show(fig)


def network(network):
    """From x to the numbers of its q, and from a draw of noise to z_K."""
    d, K = network.dim, network.flow.length
    fig, ax = plt.subplots(figsize=(8.6, 3.7), layout="constrained")
    ax.set(xlim=(-0.5, 101), ylim=(-1, 43))
    ax.axis("off")

    def box(x, y, width, height, text, color="0.35"):
        ax.add_patch(
            FancyBboxPatch(
                (x, y),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=1",
                fc="none",
                ec=color,
                lw=1.6,
            )
        )
        ax.text(x + width / 2, y + height / 2, text, ha="center", va="center")

    def arrow(start, end, color="0.35"):
        ax.add_patch(
            FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=color, lw=1.3)
        )

    box(0, 28, 10, 9, f"$x$\n({network.pixels})", TARGET)
    box(16, 28, 17, 9, f"network $\\phi$\n{network.encoder.sizes[1]} units")
    arrow((10.5, 32.5), (15.5, 32.5))
    cuts = (("$\\mu$", d, BASE), ("$\\ln\\sigma$", d, BASE))
    cuts += tuple((f"${name}_k$", K * size, FLOW) for name, size in (("u", d), ("w", d), ("b", 1)))
    left, width = 39.0, (9.0, 9.0, 13.0, 13.0, 13.0)
    arrow((33.5, 32.5), (38.5, 32.5))
    for (name, size, color), wide in zip(cuts, width, strict=True):
        box(left, 28, wide, 9, f"{name}\n({size})", color)
        left += wide + 1
    ax.text(
        69,
        39.5,
        f"{network.outputs} numbers: $\\mu(x)$, $\\ln\\sigma(x)$, $\\lambda(x)$",
        ha="center",
    )
    box(16, 7, 17, 9, "$\\epsilon \\sim N(0, I)$", "0.35")
    box(39, 7, 19, 9, "$z_0 = \\mu + \\sigma \\odot \\epsilon$", BASE)
    arrow((33.5, 11.5), (38.5, 11.5))
    for at, label in ((63, "$f_1$"), (75.5, f"$f_{K}$")):
        box(at, 7, 6.5, 9, label, FLOW)
    ax.text(72.5, 11.5, "$\\cdots$", ha="center", va="center", fontsize=12)
    arrow((58.5, 11.5), (62.5, 11.5))
    arrow((82.5, 11.5), (88.5, 11.5))
    box(89, 7, 10, 9, "$z_K$", FLOW)
    arrow((48.5, 27.5), (48.5, 16.5), BASE)
    ax.plot([60, 60, 100, 100], [27, 25.5, 25.5, 27], color=FLOW, lw=1.3)
    for at in (66.25, 78.75):
        arrow((at, 25.5), (at, 16.5), FLOW)
    ax.text(72.5, 21, "$\\lambda(x)$", ha="center", va="center")
    arrow((48.5, 6.5), (48.5, 3.5), BASE)
    ax.text(48.5, 0.8, "$\\ln q_0(z_0 \\mid x)$", ha="center", fontsize=10)
    arrow((72.5, 6.5), (72.5, 3.5), LOG_DET)
    ax.text(72.5, 0.8, "$\\sum_k \\ln \\vert \\det \\vert$", ha="center", fontsize=10)
    arrow((94, 6.5), (94, 3.5), TARGET)
    ax.text(94, 0.8, "$\\ln p(x, z_K)$", ha="center", fontsize=10)
    plotting.show(fig)


def posteriors(every_x, log_joint, log_q, kl, chosen=(1, 2, 4, 10, 15)):
    """Each column one x: the truth, the Gaussian and the flow that a network gives it, with KL."""
    window, n = (-3.0, 3.0), 100
    z, _ = checks.grid(window, n)
    fig, axes = plotting.panels(3, len(chosen), size=1.35)
    names = ("q_0 alone", "a flow for each x")
    for i, column in zip(chosen, axes.T, strict=True):
        rows = [log_joint(every_x[i], z), *(log_q(name, every_x[i], z) for name in names)]
        titles = [spoken(every_x[i]), *(f"KL {kl[name][i]:.2f}" for name in names)]
        for ax, values, title in zip(column, rows, titles, strict=True):
            picture = np.exp(values).reshape(n, n)
            ax.imshow(picture, origin="lower", extent=(*window, *window), cmap=plotting.DENSITY)
            plotting.square(ax, window)
            ax.set_title(title, fontsize=9, pad=3)
            ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
    for ax, name in zip(axes[:, 0], ("true $p(z|x)$", "$q_0(z|x)$", "$q_K(z|x)$"), strict=True):
        ax.set_ylabel(name, labelpad=4)
    plotting.show(fig)


def shares(approximation, amortization):
    """The mean gap of each network as a bar: below the family's share, on it the network's."""
    fig, axes = plt.subplots(1, 2, figsize=(7.6, 3.3), layout="constrained", sharey=True)
    families = ("q_0 alone", "a flow for each x")
    networks = ("32 units", "no hidden\nlayer", "32 units,\nunseen $x$")
    for ax, family, low, high in zip(axes, families, approximation, amortization, strict=True):
        color, at = LOOKS[family][0], range(3)
        hatched = {"alpha": 0.35, "hatch": "//", "ec": color}
        ax.bar(at, low, 0.6, color=color)
        ax.bar(at, high, 0.6, low, color=color, **hatched)
        for i, total in enumerate(low + high):
            ax.text(i, total + 0.02, f"{total:.2f}", ha="center")
        ax.set_xticks(at, networks)
        ax.set_title(pretty(family))
    axes[1].bar(0, 0, color=color, label="approximation: the family's")
    axes[1].bar(0, 0, color=color, **hatched, label="amortization: the network's")
    axes[0].set(ylabel="mean gap (nats)", ylim=(0, 1.15))
    axes[1].legend(frameon=False, loc="upper left")
    plotting.show(fig)


def more_draws(every_x, kl, left_over, sizes):
    """The gap of every x with one draw, and how the mean over x falls with more of them."""
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(8.8, 4.0), layout="constrained", width_ratios=(1.15, 1)
    )
    order = np.argsort(kl["q_0 alone"])
    spread = np.sort(np.stack([*kl.values()]), axis=0)[:, order]
    left.hlines(range(16), spread[0], spread[-1], color="0.8", linewidth=1)
    for name, (color, mark) in LOOKS.items():
        left.semilogx(kl[name][order], range(16), mark, color=color, ms=6)
        mean, error = np.array([left_over[name, S] for S in sizes]).T
        seen = mean > 2 * error  # the others may be 0, so that only an upper bound can be drawn
        at = np.array(sizes)
        right.errorbar(at[seen], mean[seen], 2 * error[seen], color=color)
        right.plot(at[seen], mean[seen], mark, color=color, ms=5)
        most = (mean + 2 * error)[~seen]
        right.plot(at[~seen], most, mark, color=color, ms=5, mfc="white")
        right.plot(at[~seen], 0.75 * most, marker="$\\downarrow$", ls="", color=color, ms=9)
        right.plot([], [], f"{mark}-", color=color, label=pretty(name))
    left.set_yticks(range(16), [spoken(x) for x in every_x[order]], fontsize=8)
    left.set(xlabel="gap of each $x$ (nats), $S = 1$")
    right.set(xscale="log", yscale="log", ylim=(2e-4, 0.5), xlabel="draws $S$")
    right.set(ylabel="mean gap over the sixteen $x$ (nats)")
    right.set_xticks(sizes, [f"{S:,}" for S in sizes])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=9, loc="lower left")
    plotting.show(fig)


def digits(rows):
    fig, axes = plt.subplots(3, 1, figsize=(7.6, 2.7), layout="constrained")
    for ax, (name, images) in zip(axes, rows.items(), strict=True):
        ax.imshow(np.hstack(images.reshape(10, 28, 28)), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    plotting.show(fig)


def figure_4(values, epochs):
    """Figure 4 of the paper beside ours, and what 80 layers gain as training goes on."""
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.6), layout="constrained")
    for flow, color, mark in (("planar", FLOW, "o"), ("nice-perm", GREY, "s")):
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
        none = {at: of["nll"] for (name, _, at), of in values.items() if name == "none"}
        gain = {
            at: none[at] - of["nll"]
            for (name, K, at), of in sorted(values.items())
            if (name, K) == (flow, 80) and at in none
        }
        axes[2].semilogx(
            [*gain], [*gain.values()], f"{mark}-", color=color, label=f"{flow} 80, ours"
        )
        theirs = paper.TABLE_2["planar"][0] - paper.TABLE_2[flow][80]
        axes[2].axhline(theirs, color=color, ls="--", label=f"{flow} 80, paper")
        axes[2].set_xticks([*gain], [*gain])
    axes[2].minorticks_off()
    axes[2].set(xlabel="epochs", ylabel="nats", ylim=(0, 6.5))
    titles = (
        f"free energy $F$, {epochs} epochs",
        "KL: $F$ less the estimate",
        "gain in $-\\ln p$ over $K = 0$",
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        ax.legend(frameon=False, fontsize=7.5)
    plotting.show(fig)
