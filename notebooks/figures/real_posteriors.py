"""The figures and the table of the notebook on real posteriors, one function each."""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter

from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET, panels, show
from nflib_min.targets import Gaussian
from nflib_min.weights import pareto_k


def table(rows):
    """Every target by every family as text, from `results.medians`; the notebook names columns."""
    lines = [f"{'':16}{'KL':>7}{'fwd KL':>9}{'k-hat':>7}{'ESS':>7}{'mean':>7}{'sd':>6}"]
    lines[0] += f"{'w.mean':>8}{'w.sd':>6}{'ln Z':>7}{'s':>5}"
    for target in dict.fromkeys(target for target, _ in rows):
        lines.append(target)
        for family, q in ((f, q) for (name, f), q in rows.items() if name == target):
            forward = "-" if q["forward_kl"] is None else f"{abs(q['forward_kl'][0]):.2f}"
            line = f"  {family:14}{abs(q['kl'][0]):7.3f}{forward:>9}{q['k_hat']:7.2f}"
            line += f"{q['ess']:7.1%}{q['mean']:7.3f}{q['sd']:6.2f}{q['weighted_mean']:8.3f}"
            line += f"{q['weighted_sd']:6.2f}{abs(q['log_z']):7.3f}{q['seconds']:5.0f}"
            lines.append(line)
    return "\n".join(lines)


def draw(axes, draws, exact, limits, labels):
    """One panel for each of the named draws of q, (n, 2), over contours of exact ones, (m, 2)."""
    for ax, (title, q) in zip(axes, draws.items(), strict=True):
        ax.scatter(*np.transpose(q), s=6, color=FLOW, alpha=0.6, linewidths=0)
        contours(ax, exact, limits)
        ax.set(xlim=limits[0], ylim=limits[1], title=title, xlabel=labels[0])
    axes[0].set_ylabel(labels[1])


def contours(ax, z, limits):
    """Dashed lines around 50 % and 90 % of the draws z, (n, 2), from a smoothed histogram."""
    counts, x, y = np.histogram2d(*z.T, bins=100, range=limits)
    p = gaussian_filter(counts, 1.8)
    heights = np.sort(p.ravel())[::-1]
    within = heights.cumsum() / len(z)
    levels = [heights[np.searchsorted(within, share)] for share in (0.9, 0.5)]
    x, y = 0.5 * (x[1:] + x[:-1]), 0.5 * (y[1:] + y[:-1])
    ax.contour(x, y, p.T, levels, colors=TARGET, linestyles="--", linewidths=1.4)


def resampled(model, mean, covariance, n, rng):
    """n draws of a posterior that is almost Gaussian, (n, d), for a picture: by importance.

    The proposal is a Gaussian with the posterior's mean and 1.3 times its covariance; ValueError
    where k-hat of the weights is not below 0.5.
    """
    wide = Gaussian(mean, 1.3 * np.asarray(covariance))
    z = wide.sample(n, rng)
    parts = np.array_split(z, 1 + n // 1000)  # a model with data makes (rows, data) arrays
    log_p = np.concatenate([model.log_density_and_grad(part)[0] for part in parts])
    k, log_w = pareto_k(log_p - wide.log_prob(z))
    if not k < 0.5:
        raise ValueError(f"{model}: expected k-hat below 0.5, got {k:.2f}")
    return z[rng.choice(n, n, p=np.exp(log_w) / np.exp(log_w).sum())]


def gradients(rows):
    """KL against draws a step, both gradients, a panel a target: medians, and every seed."""
    fig, axes = plt.subplots(1, 2, figsize=(8.0, 3.3), layout="constrained")
    for ax, target in zip(axes, dict.fromkeys(r["settings"]["target"] for r in rows), strict=True):
        for path, style, color in ((True, "o-", FLOW), (False, "s--", BASE)):
            kls = {}
            for row in rows:
                settings = row["settings"]
                if (settings["target"], settings["path_gradient"]) == (target, path):
                    kls.setdefault(settings["batch"], []).append(row["values"]["kl"][0])
            batches = sorted(kls)
            middle = [np.median(kls[batch]) for batch in batches]
            label = "path gradient" if path else "full gradient"
            ax.loglog(batches, middle, style, color=color, label=label)
            for batch in batches:
                ax.plot([batch] * len(kls[batch]), kls[batch], ".", color=color, alpha=0.4)
        ax.set(title=target, xlabel="draws a step", ylabel="KL(q || p), nats")
        ax.set_xticks(batches, batches)
        ax.set_xticks([], minor=True)
    axes[0].legend(frameon=False)
    show(fig)


def three_families(fits, exact):
    fig, axes = panels(1, 3, size=2.8)
    draws = {
        name: flow.sample(params, 1500, np.random.default_rng(2))[:, [2, 1]]
        for name, (flow, params) in fits.items()
    }
    labels = r"$\theta_1$, effect of school A", r"$\ln\tau$, log spread of schools"
    draw(axes[0], draws, exact[:, [2, 1]], [(-12, 24), (-4, 4)], labels)
    show(fig)


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
    draw(axes[0], draws, beta, [(-3.5, 1.5), (-1.5, 3)], labels)
    show(fig)


def two_ridges(models, rows):
    fig, axes = panels(1, 4, size=2.4)
    pairs, views = ([0, 1], [1, 4]), ([(-45, -5), (-2, 8)], [(-8, 7), (-9, 8)])
    names = ("intercept", "petal length"), ("mean radius", "mean area")
    for i, (model, moments, row) in enumerate(models):
        z = resampled(model, *moments, 100_000, np.random.default_rng(6))
        draws = {family: rows[row, family]["draws"] for family in ("mean-field", "RealNVP")}
        draw(axes[0, 2 * i : 2 * i + 2], draws, z[:, pairs[i]], views[i], names[i])
    show(fig)


def funnels(z, name, rows, three):
    fig, axes = panels(1, 3, size=2.8)
    draws = {family: rows[name, family]["draws"] for family in three}
    draw(axes[0], draws, z[:, [1, 0]], [(-20, 20), (-9, 9)], ("$x_1$", "$v$"))
    show(fig)
