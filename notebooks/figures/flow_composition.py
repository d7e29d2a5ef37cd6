"""The figures of the third notebook, one function each; what they show is computed there."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke

import live
from nflib_min import checks, plotting
from nflib_min.planar import GAIN, constrain, m
from nflib_min.plotting import BASE, DENSITY, FLOW, LOG_DET, TARGET, panels
from reproduce import results

GREY = "0.45"
NAMES = ("U1", "U2", "U3", "U4")
MARKS = {"U1": "o-", "U2": "s:", "U3": "^--", "U4": "D-."}
RIM = [withStroke(linewidth=3.5, foreground="black")]  # so that white is seen on any density
FLOWS = {"nice-orth": "NICE-orth", "nice-perm": "NICE-perm"}


def label(axes):
    """The names of the coordinates, at the left and at the bottom only."""
    for ax in axes.flat:
        ax.set(xlabel="east", ylabel="north")
        ax.label_outer()


def first(flow, params, k):
    """The same flow, its stack of planar layers cut after k, and its parameters."""
    (affine, stack), (of_affine, of_stack) = flow.bijection.maps, params
    chain = type(flow.bijection)([affine, type(stack)(stack.dim, length=k)])
    return type(flow)(flow.base, chain), [of_affine, {n: p[:k] for n, p in of_stack.items()}]


def stages(flow, params, p, after=(4, 8, 16, 32)):
    """The density and the grid after some of the layers, between the base and the target."""
    fig, axes = panels(2, len(after) + 2, size=1.4)
    plotting.density(axes[0, 0], flow.base.log_prob, title="$q_0$")
    plotting.warped_grid(axes[1, 0], lambda z: z, lines=11, color=BASE)
    for k, column in zip(after, axes.T[1:-1], strict=True):
        short, some = first(flow, params, k)
        plotting.density(column[0], partial(short.log_prob, some), title=f"$q_{{{k}}}$")
        plotting.warped_grid(column[1], partial(short.bijection.forward, some), lines=11)
    plotting.density(axes[0, -1], p.log_prob, title="the hiker")
    plotting.samples(axes[1, -1], p.sample(1500, np.random.default_rng(1)), color=TARGET)
    label(axes)
    live.show("depth", fig, beside=True)


def ten_layers(base, stacks, after=(1, 2, 5, 10), limits=(-5.0, 5.0)):
    """Two stacks of random layers on a square, and what the first two layers of each will do."""
    fig, axes = panels(len(stacks), 1 + len(after), size=1.6)
    for (name, (flow, params)), row in zip(stacks.items(), axes, strict=True):
        for k, ax in zip((0, *after), row, strict=True):
            log_q = base.log_prob
            if k:
                short = type(flow)(base, type(flow.bijection)(2, k))
                log_q = partial(short.log_prob, {n: p[:k] for n, p in params.items()})
            plotting.density(ax, log_q, limits, title=f"$q_{{{k}}}$")
        for k in (0, 1):
            {"planar": arrow, "radial": circle}[name](row[k], params, k)
    label(axes)
    for name, row in zip(stacks, axes, strict=True):
        row[0].set_ylabel(f"{name} layers\nnorth")
    plotting.show(fig)


def arrow(ax, params, k):
    """The line w.z + b = 0 of layer k + 1, and the push u on its positive side."""
    w, b = params["w"][k], params["b"][k]
    u = constrain(params["u"], params["w"])[0][k]
    foot = -b * w / (w @ w)
    along = np.array([-w[1], w[0]])
    ax.axline(foot, foot + along, color="white", lw=1, ls="--", path_effects=RIM)
    start = foot + 0.8 * w / np.linalg.norm(w)
    look = {
        "arrowstyle": "->",
        "color": "white",
        "lw": 2,
        "path_effects": RIM,
        "mutation_scale": 12,
    }
    ax.annotate("", start + u, start, arrowprops=look)


def circle(ax, params, k):
    """The centre of layer k + 1, and the circle of radius alpha around it."""
    centre, alpha = params["z_ref"][k], np.exp(params["log_alpha"][k])
    ax.plot(*centre, "+", color="white", markersize=8, path_effects=RIM)
    line = {"fill": False, "color": "white", "linestyle": "--", "path_effects": RIM}
    ax.add_patch(plt.Circle(centre, alpha, **line))


def constraint(w, spread):
    """What the constraint does to u, as a number m(a), and to a stack before any training."""
    fig, axes = plt.subplots(1, 3, figsize=(9.0, 3.1), layout="constrained")
    moved(axes[0], w)
    a = np.linspace(-5, 3, 161)
    axes[1].plot(a, m(a, gain=1.0), ":", color=LOG_DET, linewidth=2, label="printed (N1)")
    axes[1].plot(a, m(a), color=FLOW, linewidth=2, label="shifted (N2)")
    axes[1].plot(0, 0, "o", color=FLOW)
    axes[1].axhline(-1, color=GREY, linewidth=0.8)
    axes[1].text(3, -0.93, "$-1$: a fold", color=GREY, ha="right")
    axes[1].set(xlabel=r"$a = w^\top u$", ylabel=r"$m(a) = w^\top \hat u$", ylim=(-1.2, 3.4))
    layers = np.arange(1, 1 + len(spread["printed"]))
    for name, style, color in (("printed", ":", LOG_DET), ("shifted", "-", FLOW)):
        for widths, text in zip(np.array(spread[name]).T, (name, None), strict=True):
            axes[2].semilogy(layers, widths, style, color=color, linewidth=2, label=text)
    axes[2].set(xlabel="layer $k$", ylabel="largest and smallest width of $q_k$")
    for ax in axes[1:]:
        ax.legend(frameon=False)
    live.show("planar", fig, beside=True)


def moved(ax, w):
    """The plane of u: each arrow leads from a u to its u_hat, always along w."""
    away = np.array([-w[1], w[0]]) / np.linalg.norm(w)  # at right angles to w
    foot = -w / (w @ w)  # where w.u = -1
    ax.axline(foot, foot + away, color=GREY, linewidth=0.8)
    ax.fill(*(foot + np.array([9, -9, -9, 9])[:, None] * away
              - np.array([0, 0, 9, 9])[:, None] * w).T, color="0.9")  # fmt: skip
    for across in (-1.5, 0.0, 1.5):
        for a in (-2.5, 0.0, 1.5):
            u = across * away + a * w / (w @ w)
            for gain, color in ((1.0, LOG_DET), (GAIN, FLOW)):
                u_hat = constrain(u, w, gain)[0]
                look = {"arrowstyle": "->", "color": color, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
                side = 0.07 * away * (1 if gain == 1.0 else -1)  # side by side, to see both
                ax.annotate("", u_hat + side, u + side, arrowprops=look)
            ax.plot(*u, ".", color="0.2", markersize=5)
    corner = np.array([1.1, -2.5])
    ax.annotate("", corner + w, corner, arrowprops={"arrowstyle": "-|>", "lw": 1.5, "color": "0.2"})
    ax.text(*(corner + 1.15 * w), "$w$", va="center")
    ax.text(-2.6, 1.2, "folds", color=GREY, va="center", ha="center")
    ax.set(xlim=(-3.3, 2.5), ylim=(-2.9, 2.9), aspect="equal")
    ax.set(xlabel="$u$, first coordinate", ylabel="$u$, second coordinate")


def walls(energy, p, limits=(-9.0, 9.0), north=(-6.0, 3.0)):
    """An energy as printed and with walls, and the mass of each strip from south to north."""
    fig, axes = plt.subplots(1, 3, figsize=(9.0, 2.0), layout="constrained")
    z, cell = checks.grid(limits, 360)
    curves = (lambda z: -energy(z), ":", "as printed"), (p.log_density, "-", "with walls")
    for ax, (log_p, style, title) in zip(axes[:2], curves, strict=True):
        density = np.exp(log_p(z)).reshape(360, 360)
        ax.imshow(density, origin="lower", extent=2 * limits, cmap=DENSITY)
        ax.set(xlim=limits, ylim=north, title=title, xlabel="east", ylabel="north")
        strip = density.sum(axis=0) * np.sqrt(cell)
        axes[2].plot(z[:360, 0], strip, style, color=TARGET, linewidth=2, label=title)
    axes[2].set(xlabel="east", ylim=(0, 3.8), title="mass of a strip, per km")
    axes[2].set_box_aspect((north[1] - north[0]) / (limits[1] - limits[0]))
    axes[2].legend(frameon=False, loc="upper center", fontsize=8, borderaxespad=0.1)
    plotting.show(fig)


def figure_3(targets, kl, columns):
    """The paper's figure 3 from the stored runs, the median seed of each, z_2 down."""
    stored = {}
    for run in results.load("fig3_panels"):
        of = run["settings"]
        stored[of["target"], of["flow"], of["K"]] = results.density(run["values"]["density"])
    fig, axes = panels(len(targets), 1 + len(columns), size=1.25)
    for (name, p), row in zip(targets.items(), axes, strict=True):
        plotting.density(row[0], p.log_prob)
        row[0].set_title(f"${name[0]}_{name[1]}$", fontsize=9)
        for (flow, K), ax in zip(columns, row[1:], strict=True):
            levels = np.frombuffer(stored[name, flow, K], np.uint8)
            side = int(len(levels) ** 0.5)
            ax.imshow(levels.reshape(side, side), origin="lower", extent=(-4, 4) * 2, cmap=DENSITY)
            plotting.square(ax, (-4.0, 4.0))
            head = f"{FLOWS.get(flow, flow)}, K = {K}\n" if name == "U1" else ""
            ax.set_title(f"{head}{np.median(kl[name, flow, K]):.2g} nats", fontsize=8.5)
    label(axes)
    for ax in axes.flat:
        ax.invert_yaxis()
    plotting.show(fig)


def lengths(kl, floor, p):
    """KL against length for four targets; one of them, and a Gaussian, by area; NICE's floor."""
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(9.4, 3.5), layout="constrained")
    for name, beside in zip(NAMES, (0.88, 0.96, 1.04, 1.14), strict=True):
        seeds(left, kl, name, "planar", MARKS[name], FLOW, beside, f"$U_{name[1]}$")
    left.set(title="planar layers, every seed", ylabel=r"KL$(q_K \,\Vert\, p)$, nats")
    z, cell = checks.grid((-8.0, 8.0), 320)
    v, A = cell * np.arange(len(z)), 5.84  # the A that makes (N5) least
    middle.plot(v, np.sort(np.exp(p.log_prob(z)))[::-1], "--", color=TARGET, label="$p^*$, $U_2$")
    middle.plot(v, np.exp(-v / A) / A, color=FLOW, label="$q^*$, a Gaussian")
    middle.set(title="two densities, sorted", xlabel="area $v$, km\u00b2", xlim=(0, 25))
    middle.set(ylabel="density, per km\u00b2", ylim=(0, None))
    looks = {"planar": ("s:", FLOW), "nice-orth": ("^-", GREY), "nice-perm": ("v--", BASE)}
    for (flow, (look, color)), beside in zip(looks.items(), (0.9, 1.0, 1.1), strict=True):
        seeds(right, kl, "U2", flow, look, color, beside, FLOWS.get(flow, flow))
    right.axhline(floor, color=LOG_DET, linewidth=2)
    right.text(0.9, 0.9 * floor, "NICE's floor", va="top", color="0.2")
    right.set(title="$U_2$, every seed")
    middle.legend(frameon=False)
    for ax in (left, right):
        ax.set(xscale="log", yscale="log", xlabel="length $K$", ylim=(2.5e-4, 6))
        ax.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
        ax.minorticks_off()
        ax.legend(frameon=False, loc="lower left", borderaxespad=0.1)
    plotting.show(fig)


def seeds(ax, kl, name, flow, look, color, beside, text):
    """One dot a seed, and a line through the medians."""
    K = sorted(length for target, of, length in kl if (target, of) == (name, flow))
    for length in K:
        dots = kl[name, flow, length]
        at = [beside * length] * len(dots)
        ax.plot(at, dots, look[0], color=color, markersize=4, alpha=0.4, markeredgewidth=0)
    median = [np.median(kl[name, flow, length]) for length in K]
    ax.plot(beside * np.array(K), median, look, color=color, markersize=6, label=text)


def annealing(log_Z, bounds, every=40):
    """The bound against the step, annealed and not, from two starts."""
    fig, axes = plt.subplots(1, 2, figsize=(9.0, 3.3), sharey=True, layout="constrained")
    for (place, annealed, seed), elbo in bounds.items():
        blocks = elbo.reshape(-1, every).mean(axis=1)
        step, ax = every * np.arange(1, 1 + len(blocks)), axes[int(place != "usual")]
        text, look = ("annealed", "-") if annealed else ("not annealed", ":")
        color = FLOW if annealed else GREY
        ax.plot(step, blocks, look, color=color, linewidth=1.6, label=None if seed else text)
        ax.set(xlabel="step", ylim=(-2, 2.2), title=f"start: {place}")
    for ax in axes:
        ax.axhline(log_Z, color=TARGET, linestyle="--", label=r"$\ln Z$")
        ax.axhline(log_Z - np.log(2), color=GREY, linewidth=0.8)
    axes[0].text(1990, log_Z - np.log(2) - 0.08, r"$\ln Z - \ln 2$", ha="right", va="top")
    axes[0].set_ylabel(r"ELBO at $\beta = 1$, nats")
    axes[1].legend(frameon=False, loc="lower right")
    plotting.show(fig)
