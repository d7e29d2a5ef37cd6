"""The figures of notebook 07."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np

from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET, density, panels, show


def fourteen_losses(objections, programs, runs):
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.9), layout="constrained")
    for run in runs.values():
        loss = run.history["loss"].reshape(-1, 10).mean(axis=1)  # blocks of ten steps
        left.plot(np.arange(5, 150, 10), (loss - loss.min()) / np.ptp(loss), color="0.45", lw=0.8)
    left.set(xlabel="step", ylabel="loss, from its highest 1 to its lowest 0")
    right.barh(range(14), objections, 0.6, color=LOG_DET)
    right.plot(0, 0, "D", color=FLOW)
    right.set(xlabel="laws that object, of 6", xlim=(-0.15, 3.3), xticks=range(4))
    right.set_yticks(range(14), programs, fontsize=8)
    right.invert_yaxis()
    show(fig)


def folds(a, c, colors, programs, styles):
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.3), layout="constrained")
    for (name, value), style, color in zip(c.items(), styles[:3], colors[:3], strict=True):
        left.plot(a, a + value * np.tanh(a), style, color=color, label=f"{name}: c = {value:.2f}")
    left.set(
        xlabel="$w^T z$ before the layer", ylabel="after the layer", xlim=(-4, 4), ylim=(-3, 5)
    )
    left.legend(frameon=False, fontsize=8)
    for value, style, color in ((0.5, "-", FLOW), (0.9, "--", FLOW), (2.0, ":", LOG_DET)):
        (root,), z = programs["correct"].root(value, 0.0, np.array([0.5])), 0.5
        errors = [abs((z := 0.5 - value * np.tanh(z)) - root) for _ in range(40)]
        right.semilogy(np.maximum(errors, 1e-17), style, color=color, label=f"c = {value}")
    right.set(xlabel="fixed-point iteration", ylabel="distance from the root", ylim=(1e-13, 9))
    right.legend(frameon=False)
    show(fig)


def bounds_above(colors, losses, programs, runs, styles):
    fig, ax = plt.subplots(figsize=(7.4, 3.6), layout="constrained")
    for name, style, color in zip(("correct", *losses), styles, colors, strict=True):
        bound = -runs[name].history["loss"].reshape(-1, 5).mean(axis=1)
        ax.plot(np.arange(2, 150, 5), bound, style, color=color, lw=2, label=name)
    log_Z = programs["correct"].model.log_normalizer
    ax.axhline(log_Z, color=TARGET, ls="--", lw=1, label=r"$\ln Z = \ln p(x)$")
    ax.set(xlabel="step", ylabel="bound reported, nats", ylim=(-8, 8))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    show(fig)


def islands(eight, ends, islands, lost, starts):
    fig, ((one, two, right),) = panels(1, 3, size=2.8)
    density(one, islands.log_prob, (-8.0, 8.0), title="target")
    density(two, partial(eight.log_prob, lost[0]), (-8.0, 8.0), title="a run that lost half")
    names = "middle", "middle,\nannealed", "random", "random,\nannealed"
    for x, start in enumerate(starts):
        right.plot(x + np.linspace(-0.2, 0.2, 5), ends[start], "o", color=FLOW, ms=5, alpha=0.8)
    right.axhline(np.log(2), color=TARGET, ls="--", lw=1)
    right.text(0.6, 0.71, r"$\ln 2$", color=TARGET)
    right.set_xticks(range(4), names, fontsize=8)
    right.set(ylabel="KL(q || p), nats", ylim=(-0.02, 0.8), title="five seeds each")
    show(fig)


def tails(eight, flow, heavy, mixture, sizes, tailed):
    r, fig = np.linspace(0, 12, 200), plt.figure(figsize=(8.4, 3.3), layout="constrained")
    left, right = fig.subplots(1, 2)
    ray = np.stack([r, 0 * r], axis=1)
    left.plot(r, heavy.log_prob(ray), "--", color=TARGET, lw=2, label="target")
    left.plot(r, eight.log_prob(tailed, ray), color=FLOW, lw=2, label="flow, K = 8")
    left.set(xlabel="$z_1$, with $z_2 = 0$", ylabel="log density, nats", ylim=(-32, 0))
    left.legend(frameon=False)
    for name, kind, style, color in (("flow", flow, "-", FLOW), ("mixture", mixture, ":", BASE)):
        lines = right.semilogx(sizes, np.transpose(kind), style, color=color, lw=1.5)
        lines[0].set_label(name)
    right.set(xlabel="draws n", ylabel="effective sample size / n", ylim=(0, 1.05))
    right.legend(frameon=False, loc="lower left")
    show(fig)
