"""The figures of notebook 02, one function each; what they show is computed there."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke

import live
from nflib_min import StandardNormal, checks, plotting
from nflib_min.planar import constrain, invert_layer, planar_layer
from nflib_min.plotting import BASE, FLOW, LOG_DET

GREY = "0.45"
PUSH = {"arrowstyle": "->", "color": FLOW, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
PATCHES = {"A": (0.0, -0.5), "B": (1.0, 0.5)}  # lower left corners of squares of side 1/2


def edge(corner, side, points=100):
    """The points of a square's edge in order, (4 points, 2)."""
    t, zero = np.linspace(0, 1, points, endpoint=False), np.zeros(points)
    sides = [(t, zero), (zero + 1, t), (1 - t, zero + 1), (zero, 1 - t)]
    return np.array(corner) + side * np.concatenate([np.stack(s, axis=1) for s in sides])


def area(outline):
    """Inside a closed line of (n, 2) points: the trapezoids under its pieces, added with sign."""
    (x, y), (x_next, y_next) = outline.T, np.roll(outline, -1, axis=0).T
    return abs(np.sum((x_next - x) * (y + y_next) / 2))


def arrow(ax, tail, tip, name):
    ax.annotate("", tip, tail, arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 2.2})
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    ax.annotate(name, tip, (5, -3), textcoords="offset points", bbox=box)


def pulled_sheet(u, w, b):
    """Base and image as densities on one scale, a grid that goes along, and two of its cells."""
    (z, _), c, base = checks.grid((-4.0, 4.0), 400), w @ u, StandardNormal(2)
    home, h = invert_layer(u, w, b, c, 1 + c, z)
    thickness = np.exp(base.log_prob(z)), np.exp(base.log_prob(home)) / (1 + c * (1 - h**2))
    maps = (lambda z: z), (lambda z: planar_layer(u, w, b, z)[0])
    fig, axes = plotting.panels(1, 2, size=3.6)
    titles = "before: $q_0(z_0)$", "after: $q_K(z_K)$"
    for ax, q, move, title in zip(axes[0], thickness, maps, titles, strict=True):
        q = np.round(24 * q / thickness[0].max()).reshape(400, 400)  # in steps, like a map
        ax.imshow(q, plotting.DENSITY, vmin=0, vmax=24, origin="lower", extent=(-4, 4, -4, 4))
        plotting.warped_grid(ax, move, lines=13, color="0.75", title=title)
        for name, corner in PATCHES.items():
            outline = move(edge(corner, 0.5))
            ax.fill(*outline.T, fill=False, edgecolor=LOG_DET, linewidth=2.5)
            label = f"{name}: {area(outline) / 0.25:.1f}"
            beside = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center"}
            highest = outline[outline[:, 1].argmax()]
            text = ax.annotate(label, highest, color="white", weight="bold", **beside)
            text.set_path_effects([withStroke(linewidth=2, foreground="#440154")])
    plotting.show(fig)


def bands(f, slope, q_0, both=((-0.25, 0.25), (1.0, 1.5))):
    """Two bands of a line before and after a map, and lines from points to their images."""
    fig, (left, middle, right) = plt.subplots(
        1, 3, figsize=(7.2, 3.8), sharey=True, width_ratios=[1, 1.1, 1], layout="constrained"
    )
    z = np.linspace(-5, 5, 2001)
    left.plot(q_0(z), z, color=BASE)
    right.plot(q_0(z) / slope(z), f(z), color=FLOW)
    for at in np.linspace(-3, 3, 25):
        middle.plot([0, 1], [at, f(at)], color="0.75", linewidth=0.7)
    for (low, high), hatch, style in zip(both, (None, "///"), ("-", "--"), strict=True):
        z = np.linspace(low, high, 201)
        left.fill_betweenx(z, 0, q_0(z), color=BASE, alpha=0.35, hatch=hatch)
        right.fill_betweenx(f(z), 0, q_0(z) / slope(z), color=FLOW, alpha=0.35, hatch=hatch)
        for at in (low, high):
            middle.plot([0, 1], [at, f(at)], style, color=LOG_DET, linewidth=2)
    left.set(xlabel="$q_0(z_0)$", ylabel="place on the line", ylim=(-4.7, 4.7), xlim=(0.44, 0))
    middle.set(xticks=[0, 1], xticklabels=["$z_0$", "$z_K$"], xlim=(0, 1))
    for tick, side in zip(middle.get_xticklabels(), ("left", "right"), strict=True):
        tick.set_horizontalalignment(side)
    right.set(xlabel="$q_K(z_K)$", xlim=(0, 0.44))
    live.show("mass", fig, beside=True)


def fold(f, shares, draws, three):
    """A map that turns back twice; its draws, the sum of the shares, and one share alone."""
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(7.6, 3.4), width_ratios=[1, 1.3], layout="constrained"
    )
    z = np.linspace(-3, 3, 801)
    left.plot(z, f(z, 3.0), color=FLOW, label="$c = 3$")
    left.plot(z, f(z, -3.0), "--", color=LOG_DET, label="$c = -3$")
    left.axhline(0, color=GREY, linewidth=0.7)
    left.plot(three, 0 * three, "o", color="0.2", label="all land on 0")
    left.set(xlabel="$z_0$", ylabel="$f(z_0)$", xlim=(-3, 3), ylim=(-3.2, 3.2))
    y = np.linspace(-2.5, 3.4, 5000)
    right.hist(draws, 120, (-2.5, 2.5), density=True, color="0.8", label="draws")
    right.plot(y, shares(y).sum(axis=0), color=FLOW, label="all shares, (N2)")
    right.plot(y, shares(y)[1], "--", color=LOG_DET, label="middle share alone")
    right.set(xlabel="$z_K$", ylabel="density", xlim=(-1.6, 3.4), ylim=(0, 1.45))
    left.legend(frameon=False, loc="upper left", fontsize=8.5)
    right.legend(frameon=False, loc="upper right", fontsize=8.5)
    plotting.show(fig)


def factors(steps):
    """The unit square after each of some linear maps, one applied after the other."""
    fig, (axes,) = plotting.panels(1, len(steps) + 1)
    fig.set_size_inches(8.2, 2.75)
    A, titles, corner = np.eye(2), ["unit square", *steps], edge((0, 0), 1.0)
    colors = [BASE, *[LOG_DET] * (len(steps) - 1), FLOW]
    for ax, title, color, M in zip(axes, titles, colors, [A, *steps.values()], strict=True):
        A = M @ A
        ax.fill(*(corner @ A.T).T, color=color, alpha=0.25)
        for at in np.linspace(0, 1, 5):
            for line in ([[at, 0], [at, 1]], [[0, at], [1, at]]):
                ax.plot(*(np.array(line) @ A.T).T, color=color, linewidth=1.2)
        ax.set(xlim=(-0.15, 2.55), ylim=(-0.25, 2.45), aspect="equal", title=title)
        ax.set(xticks=[0, 1, 2], yticks=[0, 1, 2], xlabel=f"area {area(corner @ A.T):.2f}")
        ax.label_outer()
        ax.set_xlabel(f"area {area(corner @ A.T):.2f}")
    plotting.show(fig)


def layer(u, w, b, some_u):
    """A planar layer's hyperplane, w, u and the pushes; and where the constraint moves u."""
    fig, ((left, right),) = plotting.panels(1, 2, size=3.7)
    left.fill(*between(w, b - 1, b + 1).T, color=LOG_DET, alpha=0.18, linewidth=0)
    left.plot(*between(w, b, b)[:2].T, "--", color="0.2", linewidth=1.5)
    z, _ = checks.grid((-3.6, 3.6), 9)
    moved = planar_layer(u, w, b, z)[0]
    for start, end in zip(z, moved, strict=True):
        left.annotate("", end, start, arrowprops=PUSH | {"lw": 0.9})
    left.plot(*z.T, ".", color=BASE, markersize=3)
    foot, along = -b * w / (w @ w), np.array([-w[1], w[0]]) / np.linalg.norm(w)
    for name, vector, at in (("$w$", w, foot - 2.2 * along), ("$u$", u, foot + 2 * along)):
        arrow(left, at, at + vector, name)
    plotting.square(left, (-4.0, 4.0), "what the layer does to $z$")
    right.fill(*between(w, 1, 40).T, color="0.85", linewidth=0)
    right.plot(*between(w, 1, 1)[:2].T, color="0.35", linewidth=1)
    right.plot(*between(w, 0, 0)[:2].T, ":", color="0.35", linewidth=1)
    for start, end in zip(some_u, constrain(some_u, w)[0], strict=True):
        right.annotate("", end, start, arrowprops=PUSH | {"lw": 1.4})
    right.plot(*some_u.T, "o", color=BASE, markersize=4)
    plotting.square(right, (-4.0, 4.0), r"what the constraint does to $u$")
    right.set(xlabel="$u_1$", ylabel="$u_2$")
    right.text(-3.8, -3.7, "here $w^T u < -1$: the layer folds")
    arrow(right, np.zeros(2), w, "$w$")
    live.show("planar", fig, beside=True)


def between(w, low, high):
    """Corners of the strip where -high < w.z < -low, as far as a picture shows it."""
    at, along = -w / (w @ w), 20 * np.array([-w[1], w[0]])
    return np.array([low * at - along, low * at + along, high * at + along, high * at - along])


def squares(f, J, center, sides):
    """Nested squares, their images, and the parallelograms of the linear map next to f."""
    fig, axes = plt.subplots(1, 2, figsize=(7.6, 2.7), sharey=True, layout="constrained")
    image = f(center[None])[0]
    for ax, title in zip(axes, ("$z_0$", "$z_K = f(z_0)$"), strict=True):
        ax.set(aspect="equal", title=title, xlabel="$z_1$", xlim=(-1.1, 2.9), ylim=(-0.95, 1.45))
    axes[0].set_ylabel("$z_2$")
    for s in sides:
        outline = edge(center - s / 2, s)
        axes[0].fill(*outline.T, fill=False, edgecolor=BASE, linewidth=1.8)
        axes[1].fill(*f(outline).T, fill=False, edgecolor=FLOW, linewidth=1.8)
        tangent = image + (outline - center) @ J.T
        axes[1].fill(*tangent.T, fill=False, edgecolor=LOG_DET, linestyle=":", linewidth=2)
    axes[0].legend(["squares"], frameon=False, loc="upper left")
    axes[1].legend(["their images", "parallelograms of $J$"], frameon=False, loc="upper left")
    plotting.show(fig)


def differences(steps, errors):
    """The error of central differences against their step, and the two laws behind it."""
    fig, ((ax,),) = plotting.panels(1, 1)
    fig.set_size_inches(6.0, 3.3)
    ax.loglog(steps, errors, "o-", color=LOG_DET, label="largest error of 200 points")
    left, right = steps[:4], steps[5:]
    ax.loglog(left, 3 * errors[1] * (left / steps[1]) ** 2, ":", color=GREY)
    ax.loglog(right, 3 * errors[8] * steps[8] / right, ":", color=GREY)
    ax.text(6e-2, 1e-8, "$\\epsilon^2$: $f$ is curved", color=GREY, ha="right")
    ax.text(3e-9, 2e-5, "$1/\\epsilon$: rounding", color=GREY)
    ax.set(xlabel="step $\\epsilon$", ylabel="error of $\\ln|\\det J|$")
    ax.legend(frameon=False, loc="upper center")
    plotting.show(fig)
