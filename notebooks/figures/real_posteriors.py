"""The figures and the table of the notebook on real posteriors, one function each."""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from nflib_min import targets
from nflib_min.plotting import BASE, FLOW, TARGET, panels, show
from nflib_min.weights import pareto_k

GREY = "0.45"
STYLES = {"mean-field": ":", "full rank": "-.", "RealNVP": "-"}


def table(rows):
    """Every target by every family as text, from `results.medians`; the notebook names columns."""
    lines = [f"{'':16}{'KL':>7}{'fwd KL':>9}{'k-hat':>7}{'ESS':>7}{'mean':>7}{'sd':>6}"]
    lines[0] += f"{'w.mean':>8}{'w.sd':>6}{'ln Z':>7}{'s':>5}"
    for target in dict.fromkeys(target for target, _ in rows):
        lines.append(american(target))
        for family, q in ((f, q) for (name, f), q in rows.items() if name == target):
            forward = "-" if q["forward_kl"] is None else f"{abs(q['forward_kl'][0]):.2f}"
            line = f"  {family:14}{abs(q['kl'][0]):7.3f}{forward:>9}{q['k_hat']:7.2f}"
            line += f"{q['ess']:7.1%}{q['mean']:7.3f}{q['sd']:6.2f}{q['weighted_mean']:8.3f}"
            line += f"{q['weighted_sd']:6.2f}{abs(q['log_z']):7.3f}{q['seconds']:5.0f}"
            lines.append(line)
    return "\n".join(lines)


def american(name):
    """The name of a stored target as the text spells it."""
    return name.replace("centred", "centered")


def draw(ax, q, exact, limits, labels, title):
    """Draws of q, (n, 2), over contours of exact ones, (m, 2)."""
    ax.scatter(*np.transpose(q), s=6, color=FLOW, alpha=0.6, linewidths=0)
    contours(ax, exact, limits)
    ax.set(xlim=limits[0], ylim=limits[1], title=title, xlabel=labels[0], ylabel=labels[1])


def contours(ax, z, limits, color=TARGET, style="--"):
    """Lines around 50 % and 90 % of the draws z, (n, 2), from a smoothed histogram."""
    counts, x, y = np.histogram2d(*z.T, bins=100, range=limits)
    p = gaussian_filter(counts, 1.8)
    heights = np.sort(p.ravel())[::-1]
    within = heights.cumsum() / len(z)
    levels = [heights[np.searchsorted(within, share)] for share in (0.9, 0.5)]
    x, y = 0.5 * (x[1:] + x[:-1]), 0.5 * (y[1:] + y[:-1])
    ax.contour(x, y, p.T, levels, colors=color, linestyles=style, linewidths=1.4)


def profile(ax, v, limits, style, color, label):
    """The density of draws v, (n,), against the y axis, from a smoothed histogram."""
    heights, edges = np.histogram(v, bins=120, range=limits, density=True)
    heights *= np.mean((v > limits[0]) & (v < limits[1]))
    middles = 0.5 * (edges[1:] + edges[:-1])
    ax.plot(gaussian_filter1d(heights, 2.0), middles, style, color=color, lw=1.6, label=label)


def resampled(model, mean, covariance, n, rng):
    """n draws of a posterior that is almost Gaussian, (n, d), for a picture: by importance.

    The proposal is a Gaussian with the posterior's mean and 1.3 times its covariance; ValueError
    where k-hat of the weights is not below 0.5.
    """
    wide = targets.Gaussian(mean, 1.3 * np.asarray(covariance))
    z = wide.sample(n, rng)
    parts = np.array_split(z, 1 + n // 1000)  # a model with data makes (rows, data) arrays
    log_p = np.concatenate([model.log_density_and_grad(part)[0] for part in parts])
    k, log_w = pareto_k(log_p - wide.log_prob(z))
    if not k < 0.5:
        raise ValueError(f"{model}: expected k-hat below 0.5, got {k:.2f}")
    return z[rng.choice(n, n, p=np.exp(log_w) / np.exp(log_w).sum())]


def three_families(fits, p):
    """Effect against log spread for each family, and the density of the log spread of all."""
    exact = p.sample(400_000, np.random.default_rng(1))
    ratios = {"width_ratios": [3, 3, 3, 2.7]}
    fig, axes = plt.subplots(
        1, 4, figsize=(9.0, 2.9), layout="constrained", sharey=True, gridspec_kw=ratios
    )
    labels, limits = (r"$\theta_1$, effect of school A", ""), [(-12, 24), (-4, 4)]
    profile(axes[3], exact[:, 1], (-4, 4), "--", TARGET, "exact")
    for ax, (name, (flow, params)) in zip(axes, fits.items(), strict=False):
        z = flow.sample(params, 20_000, np.random.default_rng(2))
        draw(ax, z[:500, [2, 1]], exact[:, [2, 1]], limits, labels, name)
        profile(axes[3], z[:, 1], (-4, 4), STYLES[name], FLOW, name)
    axes[0].set_ylabel(r"$\ln\tau$, log spread of schools")
    axes[3].set(title=r"density of $\ln\tau$", xscale="log", xlim=(0.004, 3))
    axes[3].legend(
        frameon=False, fontsize=8, handlelength=1.6, loc="lower right", borderaxespad=0.1
    )
    show(fig)


def weights_of(made, shapes, fitted):
    """Histograms of log weights; a tail P(w > t) ~ t^(-1/k) is a straight line, slope -1/k.

    made : name -> log_w, drawn above, with their shapes k or None; fitted : the same, drawn below.
    """
    fig, axes = panels(2, 3, size=2.4)
    edges = np.linspace(-6, 12, 73)
    pairs = [*made.items(), *fitted.items()]
    for ax, (name, log_w), k in zip(axes.ravel(), pairs, [*shapes, *3 * [0]], strict=True):
        ax.hist(log_w, edges, color=FLOW, alpha=0.35, log=True)
        ax.axvline(0, color=TARGET, ls="--", lw=1)
        k_hat = pareto_k(log_w)[0]
        if k is not None:  # a line through the number beyond the largest 1 % and 0.1 %
            k = k or k_hat
            x = np.quantile(log_w, 0.998) + np.array([-2 * k, 5 * k])
            expected = 0.002 * len(log_w) * (edges[1] - edges[0]) / k
            ax.plot(x, expected * np.exp([2, -5]), color="black", lw=1.4)
        ax.set(title=name, xlim=(-6, 12), ylim=(0.6, 3e4))
        ax.text(11.6, 1.1e4, rf"$\hat k$ = {k_hat:.2f}", ha="right", va="top")
    for ax in axes[1]:
        ax.set_xlabel(r"$\ln w - \ln Z$, nats")
    for ax in axes[:, 0]:
        ax.set_ylabel("draws of 20,000")
    show(fig)


def layer_by_hand(eta, p, theta, after):
    """One Gaussian on p, before and after the layer theta = mu + tau eta."""
    fig, (axes,) = panels(1, 2, size=3.0)
    rng, pair = np.random.default_rng(5), [2, 1]
    exact = [target.sample(400_000, rng)[:, pair] for target in (p, after)]
    labels = (r"$\eta_1$", r"$\ln\tau$"), (r"$\theta_1 = \mu + \tau\eta_1$", "")
    limits = [(-4, 4), (-4, 4)], [(-12, 24), (-4, 4)]
    titles = "mean-field, non-centered", "the same draws, centered"
    for ax, z, *rest in zip(axes, (eta, theta), exact, limits, labels, titles, strict=True):
        draw(ax, z[:500, pair], *rest)
    show(fig)


def almost_gaussian(linear, widths, iris):
    """The ridge of two coefficients with the dot, magnified; and what a Gaussian cannot bend."""
    fig, (axes,) = panels(1, 2, size=3.2)
    rng = np.random.default_rng(5)
    beta = linear.sample(400_000, rng)[:, [5, 6]]
    dot = linear.mean[5:7] + widths[5:7] * rng.standard_normal((500, 2))
    labels = "coefficient of total cholesterol", "of LDL cholesterol"
    draw(axes[0], dot, beta, [(-3.5, 1.5), (-1.5, 3)], labels, "diabetes: mean-field")
    lens = axes[0].inset_axes([0.58, 0.58, 0.4, 0.4])
    lens.scatter(*dot.T, s=3, color=FLOW, alpha=0.5, linewidths=0)
    x, y = linear.mean[5:7]
    lens.set(xlim=(x - 0.1, x + 0.1), ylim=(y - 0.1, y + 0.1), xticks=[], yticks=[])
    lens.set_xlabel("magnified 10 times", fontsize=8)
    axes[0].indicate_inset_zoom(lens, edgecolor="0.3")
    z = resampled(iris, iris.mean, iris.covariance, 200_000, rng)
    q = targets.Gaussian(iris.mean, iris.covariance).sample(200_000, rng)
    limits, labels = [(-1.5, 8.5), (-1, 17)], ("coefficient of petal length", "of petal width")
    draw(axes[1], q[:500, 1:], z[:, 1:], limits, labels, "iris: a full-rank Gaussian")
    contours(axes[1], q[:, 1:], limits, FLOW, "-")
    show(fig)


def two_funnels(fit, p):
    """Draws of a flow on the funnel, and v: where the mass is, and where the variance is."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained", sharey=True)
    exact = p.sample(400_000, np.random.default_rng(7))
    flow, params = fit
    z = flow.sample(params, 20_000, np.random.default_rng(8))
    limits = [(-20, 20), (-11, 19)]
    draw(left, z[:500, [1, 0]], exact[:, [1, 0]], limits, ("$x_1$", "$v$"), "RealNVP")
    v = np.linspace(*limits[1], 300)
    gaussian = [np.exp(-0.5 * ((v - at) / 3) ** 2) / (3 * (2 * np.pi) ** 0.5) for at in (0, 9)]
    right.plot(gaussian[0], v, "--", color=TARGET, label="mass of $p$")
    right.fill_betweenx(v, gaussian[1], color=TARGET, alpha=0.25, label="variance of $x_1$")
    profile(right, z[:, 0], limits[1], "-", FLOW, "mass of $q$")
    right.set(xlabel="density", title="where are they, along $v$?", xlim=(0, None))
    right.set_xticks([0, 0.05, 0.1])
    right.legend(frameon=False, loc="lower right")
    show(fig)


def all_fits(rows):
    """Each stored fit as a point: its KL, and its largest error; the marker says its k-hat."""
    settings = [(row["settings"]["target"], row["settings"]["family"]) for row in rows]
    order = sorted(set(settings), key=settings.index)
    heights, y = {}, 0.0
    for target in dict.fromkeys(target for target, _ in order):
        y += 0.9
        heights[target, None] = y
        for key in (key for key in order if key[0] == target):
            y += 1.0
            heights[key] = y
        y += 0.3
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 6.4), layout="constrained", sharey=True)
    kinds = {
        r"$\hat k < 0.5$": {"marker": "o", "color": FLOW},
        r"$0.5 \leq \hat k < 0.7$": {"marker": "o", "mec": FLOW, "mfc": "none"},
        r"$\hat k \geq 0.7$": {"marker": "x", "color": "black"},
    }
    for key, row in zip(settings, rows, strict=True):
        values = row["values"]
        kind = list(kinds.values())[np.searchsorted([0.5, 0.7], values["k_hat"], side="right")]
        both = values["kl"][0], max(values["mean"], values["sd"])
        for ax, value, least in zip(axes, both, (1e-4, 0.003), strict=True):
            ax.plot(max(value, least), heights[key], ls="", ms=5, **kind)
    names = {height: family or american(target) for (target, family), height in heights.items()}
    axes[0].set_yticks(list(names), list(names.values()))
    for label in axes[0].get_yticklabels():
        if label.get_text() in {american(target) for target, _ in order}:
            label.set(fontweight="bold")
    for ax in axes:
        ax.tick_params(length=0, axis="y", labelsize=9)
    axes[0].set(xscale="log", xlim=(7e-5, 40), ylim=(y + 0.5, 0), xlabel="KL(q || p), nats")
    axes[1].set(xscale="log", xlim=(0.0025, 1.3))
    axes[1].set_xlabel("largest error, by raw draws")
    axes[1].set_xticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    for ax, lines in zip(axes, ((0.005, 0.125), (0.1,)), strict=True):
        for x in lines:
            ax.axvline(x, color="0.6", lw=0.9, zorder=0)
    axes[0].text(0.005, y + 0.35, "0.1 sd ", ha="right", color=GREY, fontsize=8)
    axes[0].text(0.125, y + 0.35, "0.5 sd ", ha="right", color=GREY, fontsize=8)
    for label, kind in kinds.items():
        axes[1].plot([], [], ls="", ms=5, label=label, **kind)
    axes[1].legend(frameon=False, loc="upper left")
    show(fig)


def study(rows):
    """Each run of the study as two dots: the chains' R-hat, and the largest error; one row a model.

    The marker says the verdict; small ones, a little lower, are fits by Gaussians alone.
    """
    groups = {}
    for row in rows:
        models = groups.setdefault(row["values"]["kind"], {})
        models.setdefault(row["settings"]["model"].partition("-")[2], []).append(row)
    kinds = {
        "good": {"marker": "o", "color": FLOW},
        "usable with importance weights": {"marker": "o", "mec": FLOW, "mfc": "none"},
        "use the chains' draws": {"marker": "D", "color": BASE},
        "do not trust": {"marker": "x", "color": "black"},
    }
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 7.0), layout="constrained", sharey=True)
    names, y = {}, 0.0
    for kind, models in groups.items():
        if len(models) > 1:
            y += 1.1
            names[y] = kind
        for model, runs in models.items():
            y += 1.1
            short = american(model).replace("_model", "").replace("_", " ")
            names[y] = short if len(models) > 1 else f"{kind}: {short}"
            for row in runs:
                values, gaussian = row["values"], row["settings"].get("gaussian", False)
                at = y + 0.4 * gaussian
                error = max(values["real"][0] / 0.14, values["real"][1] / 0.15)
                how = {"ls": "", "ms": 3.5 if gaussian else 5, **kinds[values["verdict"]]}
                axes[0].plot(max(values["r_hat"] - 1, 1.2e-3), at, **how)
                axes[1].plot(max(error, 0.03), at, **how)
    axes[0].set_yticks(list(names), list(names.values()))
    for label in axes[0].get_yticklabels():
        if label.get_text() in groups:
            label.set(fontweight="bold")
    for ax, mark in zip(axes, (0.1, 1.0), strict=True):
        ax.tick_params(length=0, axis="y", labelsize=8)
        ax.axvline(mark, color="0.6", lw=0.9, zorder=0)
    axes[0].set(
        xscale="log", xlim=(1e-3, 1), ylim=(y + 1, 0.2), xlabel=r"largest $\hat R$ of the chains"
    )
    axes[0].set_xticks([0.001, 0.01, 0.1], ["1.001", "1.01", "1.1"])
    axes[1].set(xscale="log", xlim=(0.03, 8), xlabel="largest error (1: the limit)")
    axes[1].set_xticks([0.1, 1], ["0.1", "1"])
    shown = {row["values"]["verdict"] for row in rows}
    for label, how in kinds.items():
        if label in shown:
            axes[1].plot([], [], ls="", ms=5, label=label, **how)
    fig.legend(*axes[1].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8)
    show(fig)
