"""The figures of the first notebook, one function each; what they show is computed there."""

import numpy as np

import live
from nflib_min import checks, plotting, targets
from nflib_min.plotting import FLOW, TARGET

GREY = "0.45"


def contours(ax, log_p, color, limits=(-4.0, 4.0), drops=(-4.5, -2.0, -0.5), style="-"):
    """Lines where a density is e^drop of its peak; a Gaussian is there at 3, 2, 1 sd."""
    z, _ = checks.grid(limits, 160)
    p = np.exp(log_p(z)).reshape(160, 160)
    width = 2 if color == FLOW else 1
    levels = p.max() * np.exp(np.array(drops))
    ax.contour(p, levels, extent=2 * limits, colors=color, linestyles=style, linewidths=width)
    plotting.square(ax, limits)


def entry(ax, label, color, style="-"):
    """One line of the legend, for contours, which make none."""
    ax.plot([], [], style, color=color, linewidth=2 if color == FLOW else 1, label=label)


def bounds(model, covariances):
    """Gaussians q around the posterior, and for each ELBO and KL divergence, stacked."""
    fig, ((left, right),) = plotting.panels(1, 2, size=3.6)
    p, limits = model.posterior, (-2.0, 4.0)
    contours(left, p.log_prob, TARGET, limits)
    entry(left, r"$p(z \mid x)$", TARGET)
    for i, ((name, S), style) in enumerate(zip(covariances.items(), (":", "-", "--"), strict=True)):
        q = targets.Gaussian(p.mean, S)
        elbo = -checks.kl_by_quadrature(q.log_prob, model.log_density)
        kl = checks.kl_by_quadrature(q.log_prob, p.log_prob)
        contours(left, q.log_prob, FLOW, limits, (-2.0,), style)
        entry(left, f"{name} $q$", FLOW, style)
        right.bar(i, kl, 0.6, elbo, color=FLOW, alpha=0.25)
        right.plot([i - 0.3, i + 0.3], [elbo, elbo], style, color=FLOW, linewidth=3)
        right.text(i, model.log_normalizer + 0.06, f"KL {round(kl, 2) + 0.0:.2f}", ha="center")
    right.axhline(model.log_normalizer, color=TARGET, linewidth=1, label=r"$\ln Z = \ln p(x)$")
    right.set_xticks(range(3), [f"{name} $q$" for name in covariances])
    right.set(ylim=(-3.8, -1.7), ylabel="nats", title="ELBO (line) + KL (bar)")
    right.legend(frameon=False, loc="lower right")
    left.legend(frameon=False, loc="upper right", fontsize=8, borderaxespad=0.1)
    left.set_title("a posterior and three $q(z)$")
    plotting.show(fig)


def log_weights(log_w, log_px):
    """All log weights, down to the last, and the two averages."""
    fig, ((ax,),) = plotting.panels(1, 1)
    fig.set_size_inches(6.5, 2.9)
    ax.hist(log_w, 120, color="0.75", log=True, label=r"$\ln w(z)$, $z \sim q$")
    ax.axvline(log_w.mean(), color=FLOW, linewidth=2, label=r"mean of $\ln w$: ELBO")
    log_mean = np.logaddexp.reduce(log_w) - np.log(len(log_w))
    ax.axvline(log_mean, color="0.3", linestyle=":", linewidth=4, label=r"$\ln$ of the mean of $w$")
    ax.axvline(log_px, color=TARGET, linestyle="--", label=r"$\ln Z = \ln p(x)$")
    ax.set(xlabel="nats", ylabel="draws, logarithmic")
    ax.legend(frameon=False, loc="upper left")
    plotting.show(fig)


def two_directions(pairs, stuck):
    """On the clock and on U1: the best q of either divergence, and a local minimum."""
    fig, (axes,) = plotting.panels(1, 2, size=3.7)
    for i, (q, p) in enumerate(pairs.values()):  # reverse, forward; reverse, forward
        ax, style = axes[i // 2], ("-", ":")[i % 2]
        contours(ax, p.log_prob, TARGET)
        contours(ax, q.log_prob, FLOW, drops=(-2.0,), style=style)
    contours(axes[1], stuck.log_prob, FLOW, drops=(-2.0,), style="--")
    entry(axes[0], "$p$", TARGET)
    entry(axes[0], "best reverse KL", FLOW)
    entry(axes[0], "best forward KL", FLOW, ":")
    entry(axes[1], "local minimum", FLOW, "--")
    for ax, title in zip(axes, ("the clock", "$U_1$"), strict=True):
        ax.legend(frameon=False, loc="lower left", fontsize=8, borderaxespad=0.1)
        ax.set_title(title)
    live.show("bound", fig, beside=True)


def gradient_noise(variances):
    """The variance of each estimator against the step of a training that ends at q = p."""
    fig, ((ax,),) = plotting.panels(1, 1)
    fig.set_size_inches(6.5, 3.4)
    looks = [(":", GREY), ("-.", GREY), ("-", FLOW), ("--", FLOW)]
    for (name, y), (style, color) in zip(variances.items(), looks, strict=True):
        ax.semilogy(y, style, color=color, linewidth=2, label=name)
    ax.set(xlabel="step", ylabel="variance of one draw's gradient", ylim=(1e-4, 3e3))
    ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.5))
    plotting.show(fig)


def importance_bounds(k, missing):
    """How far below ln Z the bound with k draws stays, for each q."""
    fig, ((ax,),) = plotting.panels(1, 1)
    fig.set_size_inches(6.5, 3.3)
    for (name, y), style in zip(missing.items(), ("-o", ":s", "--^"), strict=True):
        ax.semilogx(k, y, style, color=FLOW, markersize=4, base=2, label=name)
    ax.axhline(0, color=TARGET, linestyle="--", label=r"$\ln Z$")
    ax.axhline(-np.log(2), color=GREY, linewidth=0.8)
    ax.text(k[-1], -0.8, r"$\ln Z - \ln 2$", ha="right")
    ax.set(xlabel="k, draws inside the logarithm", ylabel=r"$L_k - \ln Z$, nats", ylim=(-1.4, 0.1))
    ax.legend(frameon=False, loc="lower center", ncols=4)
    plotting.show(fig)
