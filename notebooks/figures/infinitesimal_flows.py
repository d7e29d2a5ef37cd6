"""The figures of notebook 04."""

import matplotlib.pyplot as plt
import numpy as np

from nflib_min import checks, plotting
from nflib_min.plotting import BASE, FLOW, LOG_DET, TARGET, density, panels, show, warped_grid


def portions(planar_steps):
    fig, axes = panels(1, 4)
    for ax, K in zip(axes[0], (1, 3, 10, 300), strict=True):
        warped_grid(ax, lambda z, K=K: planar_steps(z, K)[0], title=f"K = {K}")
    show(fig)


def limit(Ks, error_log_det, error_z, log_q1):
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
    axes[0].loglog(Ks, error_z, "o-", color=FLOW, label="points")
    axes[0].loglog(Ks, error_log_det, "s--", color=LOG_DET, label="log-determinants")
    axes[0].set(xlabel="layers K", ylabel="largest error", title="distance to the limit")
    axes[0].set_xticks(Ks, Ks, minor=False)
    axes[0].set_xticks([], minor=True)
    axes[0].legend(frameon=False)
    density(axes[1], log_q1, limits=(-3.0, 3.0), title="$q_1$ of the limit")
    show(fig)


def two_moons(films):
    fig, axes = panels(1, 4)
    for ax, (t, q) in zip(axes[0], films.items(), strict=True):
        ax.imshow(
            q.reshape(100, 100), origin="lower", extent=(-5, 5, -5, 5), interpolation="bilinear"
        )
        plotting.square(ax, (-4.0, 4.0), f"t = {t:g}")
    show(fig)


def leapfrog(force, kinds, log_dets, target):
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
    density(axes[0], target.log_prob, title="160 steps on the two moons")
    first = np.array([[1.6, 0.9, -0.5, 1.2]])
    looks = (("white", "-", "o"), (TARGET, "--", "^"))
    for (name, kind), (color, style, marker) in zip(kinds.items(), looks, strict=True):
        path = [first]
        for _ in range(160):
            path.append(kind(force, 2, step_size=0.05, steps=1).forward({}, path[-1]))
        axes[0].plot(*np.concatenate(path)[:, :2].T, style, color=color)
        means = log_dets[name].mean(axis=1)
        axes[1].plot((10, 20, 40, 80), means, style, color=LOG_DET, marker=marker, label=name)
    axes[1].set(xlabel="steps of 0.05", ylabel="mean $\\ln|\\det|$", title="volume, by autodiff")
    axes[1].legend(frameon=False)
    show(fig)


def ode_flow(centred, field, solve, target):
    fig, axes = panels(1, 4)
    for ax, t in zip(axes[0], (0.0, 0.3, 0.6, 1.0), strict=True):
        z_t = solve(centred, 0.0, t, field, tolerance=1e-6)[0] if t else centred
        plotting.samples(ax, z_t, color=FLOW if t else BASE, title=f"t = {t:g}")
    along = np.linspace(-4, 4, 160)
    contour = target.log_prob(checks.grid((-4.0, 4.0), 160)[0]).reshape(160, 160)
    axes[0, 3].contour(along, along, contour, levels=[-5.0, -3.5], colors=TARGET, linewidths=1)
    show(fig)
