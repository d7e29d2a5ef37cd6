"""The figures of notebook 03."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np

from nflib_min import StandardNormal, checks, plotting
from nflib_min.planar import m
from nflib_min.plotting import density, panels, show
from nflib_min.targets import U4


def stages(affine, first, fork, layers, planar_flow):
    fig, axes = panels(2, 6, size=1.35)
    density(axes[0, 0], StandardNormal(2).log_prob, title="$z_0$")
    plotting.warped_grid(axes[1, 0], lambda z: z, lines=11, color=plotting.BASE)
    for k, column in zip((4, 8, 16, 32), axes.T[1:], strict=False):
        flow, params = planar_flow(k), [affine, first(k, layers)]
        density(column[0], partial(flow.log_prob, params), title=f"$z_{{{k}}}$")
        plotting.warped_grid(column[1], partial(flow.bijection.forward, params), lines=11)
    density(axes[0, 5], fork.log_prob, title="target")
    plotting.samples(axes[1, 5], fork.sample(1000, np.random.default_rng(1)), color=plotting.TARGET)
    for ax in axes.flat:
        ax.label_outer()
    show(fig)


def constraint(a, spread):
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.1), layout="constrained")
    left.plot(a, m(a, gain=1.0), color=plotting.LOG_DET, ls=":", label="printed (N2)")
    left.plot(a, m(a), color=plotting.FLOW, label="shifted (N3)")
    left.axhline(-1, color="0.6", lw=0.8)
    left.plot(0, 0, "o", color=plotting.FLOW)
    left.set(xlabel="$a = w^T u$", ylabel="$m(a)$")
    right.semilogy(range(1, 33), spread["printed"], color=plotting.LOG_DET, ls=":", label="printed")
    right.semilogy(range(1, 33), spread["shifted"], color=plotting.FLOW, label="shifted")
    right.set(xlabel="layer $k$", ylabel="sd of $z_k$ at initialisation")
    for ax in (left, right):
        ax.legend(frameon=False)
    show(fig)


def walls(fork):
    fig, axes = panels(1, 3, size=2.7)
    wide = (-12.0, 12.0)
    density(axes[0, 0], lambda z: -U4(z), wide, points=300, title="$e^{-U_4}$, as printed")
    density(axes[0, 1], fork.log_prob, wide, points=300, title="with a wall: proper")
    z, cell = checks.grid(wide, 240)
    curves = (lambda z: -U4(z), ":", "as printed"), (fork.log_density, "--", "with a wall")
    for f, style, label in curves:
        strip = np.exp(f(z)).reshape(240, 240).sum(axis=0) * np.sqrt(cell)
        axes[0, 2].plot(z[:240, 0], strip, color=plotting.TARGET, ls=style, lw=2.2, label=label)
    axes[0, 2].set(xlabel="$z_1$", ylim=(0, 2.6), title="mass of a strip $dz_1$")
    axes[0, 2].legend(frameon=False)
    show(fig)


def figure_3(flows, goals, kl, lengths, trained):
    fig, axes = panels(5, 4, size=1.35)
    for name, row in zip(goals, axes, strict=True):
        density(row[0], goals[name].log_prob, title="target" if name == "U1" else "")
        for K, ax in zip(lengths, row[1:], strict=True):
            title = (f"K = {K}\n" if name == "U1" else "") + f"KL {kl[name, K]:.3f}"
            density(ax, partial(flows[name, K].log_prob, trained[name, K]), title=title)
        kind = "NICE, $U_2$" if name == "NICE" else f"planar, ${name[0]}_{name[1]}$"
        row[0].set_ylabel(f"{kind}\n$z_2$")
    for ax in axes.flat:
        ax.invert_yaxis()
        ax.label_outer()
    show(fig)


def gaps(goals, kl, lengths):
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.3), layout="constrained")
    for name, style in zip(goals, ("o-", "s-", "^-", "D-", "x:"), strict=True):
        gaps = np.array([kl[name, K] for K in lengths])
        color = "0.3" if name == "NICE" else plotting.FLOW
        left.semilogx(lengths, -gaps, style, color=color)
        right.loglog(lengths, gaps, style, color=color)
        label = "NICE, $U_2$" if name == "NICE" else f"${name[0]}_{name[1]}$"
        right.annotate(label, (32, gaps[2]), (7, -4), textcoords="offset points")
    left.axhline(0, color=plotting.TARGET, ls="--")
    left.annotate(r"$\ln Z$", (2, 0), (0, -13), textcoords="offset points", color=plotting.TARGET)
    left.set(ylabel=r"ELBO $-\ \ln Z$ (nats)", ylim=(None, 0.06))
    right.set(ylabel="KL (nats)", xlim=(1.6, 90))
    for ax in (left, right):
        ax.set(xlabel="length $K$", xticks=lengths, xticklabels=lengths)
        ax.minorticks_off()
    show(fig)


def annealing(arcs, runs):
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.3), sharey=True, layout="constrained")
    for ax, place in zip(axes, ("usual", "in one arc"), strict=True):
        for seed in range(3):
            for annealed, color, style in ((False, plotting.BASE, ":"), (True, plotting.FLOW, "-")):
                elbo = runs[place, annealed, seed].reshape(-1, 40).mean(axis=1)
                label = ("annealed" if annealed else "not annealed") if seed == 0 else None
                ax.plot(40 * np.arange(1, 51), elbo, color=color, ls=style, label=label)
        ax.axhline(arcs.log_normalizer, color=plotting.TARGET, ls="--", label=r"$\ln Z$")
        ax.set(xlabel="step", ylim=(-2, 2.2), title=f"start: {place}")
    axes[0].set_ylabel(r"ELBO at $\beta = 1$ (nats)")
    axes[1].legend(frameon=False, loc="lower right")
    show(fig)
