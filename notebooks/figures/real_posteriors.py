"""The figures of notebook 06."""

import matplotlib.pyplot as plt
import numpy as np

from nflib_min.plotting import BASE, FLOW, LOG_DET, panels, show
from reproduce import posteriors


def largest_weights(found, target):
    fig, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    styles = {"mean-field": (BASE, "-"), "full rank": (LOG_DET, ":"), "RealNVP": (FLOW, "--")}
    share = np.arange(1, 2001) / 20_000  # of the draws: the largest tenth
    for name, (_, log_w, _) in found.items():
        top = np.sort(log_w - target.log_normalizer)[::-1][:2000]
        color, style = styles[name]
        ax.loglog(share, np.exp(top), style, color=color, lw=2, label=name)
    ax.axhline(1, color="0.6", lw=0.8)
    ax.set(xlabel="share of draws with a larger weight", ylabel="weight $w / Z$")
    ax.legend(frameon=False)
    show(fig)


def ridge(both, linear):
    fig, axes = panels(1, 2, size=3.0)
    beta = linear.sample(400_000, np.random.default_rng(5))[:, [5, 6]]
    labels = "coefficient of total cholesterol", "of LDL cholesterol"
    draws = {family: q["draws"] for family, q in both.items()}
    posteriors.draw(axes[0], draws, beta, [(-3.5, 1.5), (-1.5, 3)], labels)
    show(fig)


def funnels(z, name, rows, three):
    fig, axes = panels(1, 3, size=2.8)
    draws = {family: rows[name, family]["draws"] for family in three}
    posteriors.draw(axes[0], draws, z[:, [1, 0]], [(-20, 20), (-9, 9)], ("$x_1$", "$v$"))
    show(fig)


def gradients(trials):
    fig, axes = plt.subplots(1, 2, figsize=(8.0, 3.3), layout="constrained")
    posteriors.draw_gradients(axes, trials)
    show(fig)
