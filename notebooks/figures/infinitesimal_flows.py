"""The figures of the fourth notebook, one function each; what they show is computed there."""

import numpy as np
from matplotlib.gridspec import GridSpec
from matplotlib.pyplot import figure
from scipy.integrate import solve_ivp
from scipy.stats import norm

import live
from nflib_min import checks, plotting
from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET

GREY = "0.45"


def follow(velocity, z, times):
    """The points z at each of the times, (times, n, 2), for a drawing."""
    solved = solve_ivp(
        lambda t, flat: velocity(flat.reshape(z.shape), t).ravel(),
        (0.0, times[-1]),
        z.ravel(),
        t_eval=times,
        rtol=1e-6,
    )
    return solved.y.T.reshape(-1, *z.shape)


def arrows(ax, velocity, t, limit=3.6, points=9, color=GREY):
    """The velocity on a lattice, as arrows whose length is its size."""
    z, _ = checks.grid((-limit, limit), points)
    looks = {"angles": "xy", "scale_units": "xy", "scale": 4.5, "width": 0.009}
    ax.quiver(*z.T, *velocity(z, t).T, color=color, pivot="middle", **looks)


def current(layer, velocity):
    """A velocity at one time, paths through all times, and a patch of pollen carried along."""
    fig, (axes,) = plotting.panels(1, 4, size=2.1)
    arrows(axes[0], velocity, 0.0, color="0.2")
    _, w, _ = layer(0.0)
    along = 5 * np.array([-w[1], w[0]]) / np.hypot(*w)
    axes[0].plot(*np.stack([-along, along]).T, "--", color=LOG_DET, linewidth=2)
    plotting.square(axes[0], (-4.0, 4.0), "velocity $f(z, 0)$")

    angle = 2 * np.pi * np.arange(12) / 12
    some = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    paths = follow(velocity, np.concatenate([some, 2.4 * some]), np.linspace(0, 1, 60))
    axes[1].plot(*paths.transpose(2, 0, 1), color=GREY, linewidth=1)
    axes[1].plot(*paths[0].T, "o", color=BASE, markersize=4)
    axes[1].plot(*paths[-1].T, "s", color=FLOW, markersize=4)
    plotting.square(axes[1], (-4.0, 4.0), "paths $z(t)$")

    patch = np.random.default_rng(4).standard_normal((1200, 2))
    angle = np.linspace(0, 2 * np.pi, 300)
    ring = 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for ax, t, color in ((axes[2], 0.0, BASE), (axes[3], 1.0, FLOW)):
        carried = follow(velocity, np.concatenate([patch, ring]), np.array([0.0, 1.0]))[int(t)]
        plotting.samples(ax, carried[:1200], color=color, title=f"pollen at $t = {t:g}$")
        ax.plot(*carried[1200:].T, color="black", linewidth=1.2)
    for ax in axes[1:]:
        ax.set_ylabel("")
    plotting.show(fig)


def portions(planar_steps, layer):
    """A grid after K portions of one push, with the strip that one layer turns over."""
    fig, (axes,) = plotting.panels(1, 4, size=2.1)
    u, w, _ = layer(0.0)
    z, _ = checks.grid((-3.0, 3.0), 300)
    turned = z[1 + (w @ u) * (1 - np.tanh(z @ w) ** 2) < 0]
    for ax, K in zip(axes, (1, 2, 4, 32), strict=True):
        if K == 1:
            strip = planar_steps(turned, 1)[0]
            ax.plot(*strip.T, ".", color=LOG_DET, markersize=3, alpha=0.3)
        name = "1 portion" if K == 1 else f"{K} portions"
        plotting.warped_grid(ax, lambda z, K=K: planar_steps(z, K)[0], lines=11, title=name)
    for ax in axes[1:]:
        ax.set_ylabel("")
    plotting.show(fig)


def flux(a, b):
    """One window on a widening Gaussian: held fixed, and moving along."""
    fig, (axes,) = plotting.panels(1, 2, size=3.6)
    fig.set_size_inches(8.0, 3.3)
    z, later = np.linspace(-1.0, 4.2, 300), 0.8
    wider = np.exp(later / 2)
    for ax, moved in zip(axes, (1.0, wider), strict=True):
        cases = ((0.0, 1.0, 1.0, BASE, "-"), (later, wider, moved, FLOW, "--"))
        for t, sd, stretch, color, style in cases:
            walls = stretch * np.array([a, b])
            inside, mass = np.linspace(*walls, 50), np.diff(norm.cdf(walls, scale=sd))[0]
            label = f"$t = {t:g}$, inside {mass:.3f}"
            ax.plot(z, norm.pdf(z, scale=sd), style, color=color, linewidth=2, label=label)
            ax.fill_between(inside, norm.pdf(inside, scale=sd), color=color, alpha=0.3, linewidth=0)
        ax.set(ylim=(0, 0.44), xlim=(-1.0, 4.2), xlabel="$z$", ylabel="$q_t$")
        ax.legend(frameon=False, loc="upper right")
    tip = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}
    for wall in (a, b):
        J = wall / 2 * norm.pdf(wall)
        look = tip | {"linewidth": 3, "color": LOG_DET, "mutation_scale": 14}
        axes[0].plot([wall, wall], [0, 0.26], color="0.3", linewidth=1)
        ends = ((wall + 2.4 * J, 0.045), (wall - 2.4 * J, 0.045))
        axes[0].annotate("", *ends, arrowprops=look)
        look = tip | {"linewidth": 1.5, "color": "0.3"}
        axes[1].annotate("", (wall * wider, 0.015), (wall, 0.015), arrowprops=look)
    axes[0].set_title("fixed walls, currents $J$ (arrows)")
    axes[1].set_title("walls that move along")
    plotting.show(fig)


def three_routes(by_grid, by_grains, exact):
    """The density of the first coordinate at each time: histogram, grid and formula."""
    fig, (axes,) = plotting.panels(1, 4)
    fig.set_size_inches(9.4, 2.6)
    axis = checks.grid((-5.0, 5.0), 100)[0][:100, 0]
    for ax, t in zip(axes, by_grid, strict=True):
        color, (mean, variance) = FLOW if t else BASE, exact(t)
        ax.hist(by_grains[t][:, 0], 50, density=True, color=color, alpha=0.3)
        on_grid = by_grid[t].reshape(100, 100).sum(axis=0) * 0.1
        ax.plot(axis[::3], on_grid[::3], "o", color="black", markersize=3)
        ax.plot(axis, norm.pdf(axis, mean, variance**0.5), color=color, linewidth=2)
        ax.set(title=f"$t = {t:g}$", xlim=(-3.5, 4.0), ylim=(0, 0.9), xlabel="$z_1$")
        ax.set_xticks([-2, 0, 2])
        ax.label_outer()
    axes[0].set_ylabel("density of $z_1$")
    plotting.show(fig)


def two_starts(times, films, KL, rate):
    """Two starts of one Langevin flow as density maps, and KL against time."""
    fig = figure(figsize=(8.0, 4.2), layout="constrained")
    spec = GridSpec(2, 4, fig, width_ratios=[1, 1, 0.1, 2.0])
    shown = {"middle": (0.0, 1.0), "right": (8.0, 32.0)}
    for row, (name, film) in enumerate(films.items()):
        for column, t in enumerate(shown[name]):
            ax = fig.add_subplot(spec[row, column])
            q = film[int(np.flatnonzero(times == t)[0])].reshape(100, 100)
            ax.imshow(q, origin="lower", extent=(-5, 5, -5, 5), interpolation="bilinear")
            plotting.square(ax, (-4.0, 4.0), f"$t = {t:g}$")
            ax.set(xlabel="")
            ax.set_ylabel(f"from the {name}" if column == 0 else "", labelpad=4)
            ax.set_yticks([])
            ax.set_xticks([-4, 0, 4] if row else [])
    ax = fig.add_subplot(spec[:, 3])
    looks = {"middle": ("-", "o"), "right": ("--", "s")}
    for name, (style, marker) in looks.items():
        ax.plot(times[1:], KL[name][1:], marker, color=FLOW, markersize=5, label=f"from the {name}")
        if name == "middle":
            ax.plot(times[1:], KL[name][1:], style, color=FLOW, linewidth=1)
    t = np.geomspace(0.1, 40, 100)
    share = 0.5 * (1 - np.exp(-rate * t))
    law = np.log(2) + share * np.log(share) + (1 - share) * np.log(1 - share)
    ax.plot(t, law, "--", color=FLOW, linewidth=1, label="two states (N9)")
    ax.axhline(np.log(2), color=TARGET, linestyle=":", linewidth=1.5)
    ax.text(0.1, np.log(2) + 0.012, r"$\ln 2$")
    ax.set(xscale="log", xlabel="time $t$", ylabel=r"KL$(q_t \Vert q_\infty)$, nats", ylim=(0, 0.8))
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(0.27, 0.4))
    live.show("start", fig, beside=True)


def volumes(drifts):
    """A disc in the plane of position and momentum, carried two ways; and the error in H."""
    fig, (axes,) = plotting.panels(1, 3, size=2.9)

    def force(z):  # of L = z^4 / 4 - z^2 / 2, two wells
        return z - z**3

    def leapfrog(z, w, e):
        w = w + e / 2 * force(z)
        z = z + e * w
        return z, w + e / 2 * force(z)

    def euler(z, w, e):
        return z + e * w, w + e * force(z)

    angle = np.linspace(0, 2 * np.pi, 400)
    looks = (("leapfrog", leapfrog, axes[0]), ("Euler", euler, axes[1]))
    for name, step, ax in looks:
        z, w = 0.3 + 0.3 * np.cos(angle), 1.0 + 0.3 * np.sin(angle)
        first = area(z, w)
        for k in range(25):
            if k % 8 == 0:
                color = FLOW if k else BASE
                ax.fill(z, w, color=color, alpha=0.4)
                ax.plot(z, w, color=color, linewidth=1)
                ax.text(z.mean(), w.mean(), f"{area(z, w) / first:.2f}", ha="center", va="center")
            z, w = step(z, w, 0.1)
        plotting.square(ax, (-2.4, 2.4), f"{name}, every 8 steps")
        ax.set(xlabel="position $z$", ylabel=r"momentum $\omega$")
    for (name, drift), style in zip(drifts.items(), ("-", "--"), strict=True):
        time = 0.05 * np.arange(len(drift))
        axes[2].plot(time, drift[:, :6], style, color=GREY, linewidth=0.8)
        axes[2].plot(time, drift.mean(axis=1), style, color=FLOW, linewidth=2.5, label=name)
    axes[2].set(title="the error in $H$", xlabel="time $t$", ylabel="$H - H(0)$")
    axes[2].set_ylim(-0.5, 5.0)
    axes[2].legend(frameon=False, loc="upper left")
    plotting.show(fig)


def area(z, w):
    """The area that a closed line surrounds."""
    return 0.5 * abs(np.sum(z * np.roll(w, -1) - w * np.roll(z, -1)))


def stirred(ode, params, z_start, target, layers, nats, limit):
    """The trained current with the drop that it carries, and the same flow in planar layers."""
    fig, (axes,) = plotting.panels(1, 4, size=2.5)

    def velocity(z, t):
        return ode.velocity(params, z, t)[0]

    carried = follow(velocity, z_start[:500], np.array([0.0, 0.5, 1.0]))
    z, _ = checks.grid((-4.0, 4.0), 160)
    p = np.exp(target.log_prob(z)).reshape(160, 160)
    for ax, t, points in zip(axes[:3], (0.0, 0.5, 1.0), carried, strict=True):
        ax.contour(
            p, p.max() * np.exp([-4.5, -2.0]), extent=(-4, 4, -4, 4), colors=TARGET, linewidths=1
        )
        plotting.samples(ax, points, color=FLOW if t else BASE, title=f"$t = {t:g}$")
        arrows(ax, velocity, t, points=9, color="0.25")
        ax.set_ylabel("" if t else "$z_2$", labelpad=-4)
    axes[3].axhline(limit, color=FLOW, linewidth=1)
    axes[3].text(layers[-1], limit * 0.93, "the ODE itself", ha="right", va="top")
    axes[3].loglog(layers, nats, "o--", color=FLOW, markersize=5)
    axes[3].set(title="cut into planar layers", xlabel="layers", ylabel=r"KL$(q \Vert p)$, nats")
    axes[3].set_xticks(layers[::2], layers[::2])
    axes[3].set_xticks([], minor=True)
    axes[3].set_yticks(ticks := [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0], ticks)
    axes[3].set_yticks([], minor=True)
    axes[3].set_ylim(limit / 2, 1.5 * max(nats))
    live.show("depth", fig, beside=True, kind="ode")
