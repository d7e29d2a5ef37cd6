# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   post:
#     categories:
#     - flows
#     date: '2026-11-21'
#     description: Layers in a row, log-determinants in a sum, and absolute KLs on the
#       paper's four test densities
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: How does a simple density become any density?
# ---

# %% [markdown]
# # How does a simple density become any density?
#
# By many small invertible steps: each step bends the density a little, and the logarithm of the last density is the logarithm of the first one minus one log-determinant for every step.

# %% tags=["setup"]
import numpy as np

from nflib_min import Affine, Chain, Flow, Planar, Radial, StandardNormal, Uniform, checks, nice
from nflib_min.objectives import FreeEnergy, kl_from_target, kl_to_target
from nflib_min.planar import GAIN, constrain, m, planar_layer, planar_root
from nflib_min.targets import U2, U3, U4, table_1, w1, w3
from nflib_min.training import cosine_decay, fit
from notebooks.figures import flow_composition as figures


# %% tags=["setup"]
def train(flow, target, steps=6000, batch=256, seed=0, start=None, annealed=True, rate=1e-2):
    """The recipe of this notebook: Adam on the free energy, annealed for a third of the steps."""
    rng = np.random.default_rng(seed)
    start = flow.init(rng) if start is None else start
    beta = (lambda t: min(1.0, 0.01 + 3 * t / steps)) if annealed else None
    loss = FreeEnergy(flow, target, batch=batch, annealing=beta)
    return fit(loss, start, steps, rng, learning_rate=cosine_decay(rate, steps))


# %% tags=["setup"]
def diagnose(given, right, mistakes):
    """Print whether an answer is missing, correct, or which of the known mistakes it makes."""
    if given is None:
        return print("not attempted")
    for verdict, x in {"correct": right, **mistakes}.items():
        if np.shape(x) == np.shape(given) and np.allclose(x, given):
            return print(verdict)
    print("not yet, and not one of the usual mistakes")


# %%
from functools import partial

from nflib_min.plotting import density, panels, show


def planar_flow(K):
    """K planar layers after one affine map, which sets the mean and the scales of the base."""
    return Flow(StandardNormal(2), Chain([Affine(2), Planar(2, length=K)]))


def first(k, layers):
    """The parameters of the first k layers of a stack."""
    return {name: value[:k] for name, value in layers.items()}


fork = table_1("U4")
budget = {2: {}, 8: {}, 32: {"steps": 10_000, "batch": 400}}  # else the defaults of train
trained = {("U4", 32): train(planar_flow(32), fork, **budget[32]).params}
affine, layers = trained["U4", 32]

# %% alt="Six panels from a round Gaussian through four stages of a flow to a sine wave that forks in two, over the square grid that the flow bends on the way. Stage 32 looks like the target." caption="One trained flow, stopped after 4, 8, 16 and 32 layers. Above: its density. Below: where it takes a square grid. Mass is neither cut nor glued: it is pushed, layer by layer."
figures.stages(affine, first, fork, layers, planar_flow)

# %% [markdown]
# [Previous: Where does the determinant come from?](02_change_of_variables.ipynb) · [Next: What happens when the flow gets infinitely long?](04_infinitesimal_flows.ipynb)
#
# The previous notebook moved a density through *one* invertible map and paid for it with one determinant. One planar map can stretch a Gaussian along one direction, and that is all. Here we put many of them in a row. The running example is the last column above: a sine wave that forks in two, the fourth test density of Rezende and Mohamed (2015).
#
# After these 50 minutes **you will be able to**
#
# - compose maps, add their log-determinants, and evaluate the resulting density at any point through the true inverse;
# - say when a Kullback-Leibler divergence (KL) to a test density exists at all, and report it in absolute nats;
# - train planar flows that come within a tenth of a nat of four densities, and recognise a collapsed start and a lost mode.
#
# **You need** the change of variables from the previous notebook, the evidence lower bound (ELBO) from the first, and a little NumPy.
#
# ## Which way do we walk?
#
# **Forward** means $z_0 \to z_K$: from the base density, through layers $1, 2, \dots, K$, to the flow. Inverse means $z_K \to z_0$. Pictures read the same way, $z_0$ left and $z_K$ right.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $z_0 \sim q_0$ | a draw from the base density | `StandardNormal`, `Uniform` |
# | $f_k$ | layer number $k$ of the flow | `Planar`, `Radial` |
# | $z_k$, $q_k$ | the point after $k$ layers, and its density | `first(k, layers)` |
# | $\ln\lvert\det J_k\rvert$ | log-determinant of layer $k$, at $z_{k-1}$ | `log_det` |
# | $u_k, w_k, b_k$ | parameters of a planar layer | `u`, `w`, `b` |
# | $z_\text{ref}, \alpha, \beta$ | centre and parameters of a radial layer | `z_ref`, `log_alpha`, `beta` |
# | $U$, $Z$ | an energy, and the integral of $e^{-U}$ | `targets`, `log_normalizer` |
#
# A base with mean $\mu$ and standard deviations $\sigma$, as in the paper (which calls it diagonal and prints $\sigma^2 I$), is a standard normal followed by one `Affine` layer: everything that is learned lives in a map, none of it in the base.
#
# ## What can ten layers do that one cannot?
#
# Composing maps is all there is to it:
#
# <a id="eq-6"></a>
#
# $$
# z_K = f_K \circ \dots \circ f_2 \circ f_1(z_0) \tag{6}
# $$
#
# <a id="eq-7"></a>
#
# $$
# \ln q_K(z_K) = \ln q_0(z_0) - \sum_{k=1}^{K} \ln\left\lvert\det \frac{\partial f_k}{\partial z_{k-1}}\right\rvert \tag{7}
# $$
#
# - $f_1$ is applied first, although it is written last;
# - each determinant is taken where the point is *at that moment*, at $z_{k-1}$ and not at $z_0$. (Equation (13) and Algorithm 1 of the paper print $f_1(z)$ where $f_1(z_0)$ is meant.)
# - the path of the points $z_0, z_1, \dots, z_K$ is the *flow*; the path of the densities $q_0, q_1, \dots, q_K$ is the *normalizing flow*.
#
# Two kinds of layer appear in the paper's Figure 1. The **planar** layer is [(10)](02_change_of_variables.ipynb#eq-10) of the previous notebook: it pushes points along $u$, by an amount that depends on $w^\top z + b$. The **radial** layer pulls points towards a centre or pushes them away from it:
#
# <a id="eq-14"></a>
#
# $$
# f(z) = z + \beta\, h(\alpha, r)\,(z - z_\text{ref}), \qquad h(\alpha, r) = \frac{1}{\alpha + r}, \qquad r = \lvert z - z_\text{ref}\rvert \tag{14}
# $$
#
# - $z_\text{ref}$ is the centre and $\alpha > 0$ the radius within which the layer acts most;
# - $\beta > 0$ pushes mass away from the centre, $\beta < 0$ draws it in; $\beta \ge -\alpha$ keeps the map invertible.
#
# > **Predict.** Draw ten planar and ten radial layers at random, without any training, and start from a Gaussian and from a uniform square. What will a planar layer do to the square, and what a radial one? Where will the density have edges after ten layers?

# %%
rng = np.random.default_rng(8)
u, w = 0.8 * rng.standard_normal((10, 2)), 1.2 * rng.standard_normal((10, 2))
planar_layers = {"u": u, "w": w, "b": rng.standard_normal(10)}
rng = np.random.default_rng(11)
centres, beta = rng.standard_normal((10, 2)), rng.uniform(-2, 3.5, 10)
radial_layers = {"z_ref": centres, "log_alpha": np.zeros(10), "beta": beta}
gaussian, uniform = StandardNormal(2), Uniform(2)

# %% alt="Four filmstrips from q0 to q10: planar and radial layers on a Gaussian and on a uniform square. Planar layers shear and fold the mass along lines, radial ones dent it around points." caption="The paper's Figure 1 with the densities in between: rows are planar and radial, each on a Gaussian and on a square; its columns are $q_1$, $q_2$ and $q_{10}$. Edges bend, never tear."
kinds = (Planar, planar_layers), (Radial, radial_layers)
rows = [(*kind, base) for kind in kinds for base in (gaussian, uniform)]
fig, axes = panels(4, 5, size=1.4)
for (kind, params, base), row in zip(rows, axes, strict=True):
    density(row[0], base.log_prob, limits=(-5, 5), title="$q_0$")
    for k, ax in zip((1, 2, 5, 10), row[1:], strict=True):
        flow = Flow(base, kind(2, length=k))
        density(ax, partial(flow.log_prob, first(k, params)), (-5, 5), title=f"$q_{{{k}}}$")
    row[0].set_ylabel(f"{kind.__name__}\n$z_2$", labelpad=-4)
for ax in axes.flat:
    ax.label_outer()
show(fig)

# %% [markdown]
# One planar layer compresses or expands the plane along a single direction, and the picture stays the same along the parallel lines of the hyperplane $w^\top z + b = 0$. The next layer has another direction. A radial layer leaves a dent or a spike at its centre. An invertible smooth map carries borders to borders: after ten layers the edge of the square is still one closed curve.
#
# Equation [(7)](#eq-7) as a loop is short. Here it runs over [`planar_layer`](../nflib_min/planar.py), the formula of one layer, and is compared with two other routes: the whole stack [`Planar`](../nflib_min/planar.py), and the determinant of the *composed* map's Jacobian, which [`log_det_by_autodiff`](../nflib_min/checks.py) obtains without knowing that there are layers.

# %%
z0, stack = gaussian.sample(500, np.random.default_rng(2)), Planar(2, length=10)
u_hat, _, _ = constrain(planar_layers["u"], planar_layers["w"])
z, log_q = z0, gaussian.log_prob(z0)
for u, w, b in zip(u_hat, planar_layers["w"], planar_layers["b"], strict=True):
    z, log_det = planar_layer(u, w, b, z)  # (6)
    log_q = log_q - log_det  # (7)
zK, log_det = stack.forward_and_log_det(planar_layers, z0)
np.testing.assert_allclose(z, zK, atol=1e-12)
np.testing.assert_allclose(log_q, gaussian.log_prob(z0) - log_det, atol=1e-12)
whole = checks.log_det_by_autodiff(stack, planar_layers, z0)
np.testing.assert_allclose(log_det, whole, atol=1e-9)
print("layer by layer = the stack = the Jacobian of the whole map: True")

# %% [markdown]
# **A flow of length K is K layers in a row. The determinant of a product is the product of the determinants, so their logarithms add, and K layers cost K times one layer.**
#
# ## What is the density at a point nobody drew?
#
# Equation [(7)](#eq-7) gives the density *of a draw*: we know $z_0$, because we started there. Every picture above needs more: the density at the points of a grid. For that we must walk backwards, and a planar layer has no inverse in closed form. Multiply $y = z + \hat u\, h(w^\top z + b)$ by $w^\top$, though, and only one unknown number is left, $a = w^\top z$:
#
# <a id="eq-N1"></a>
#
# $$
# a + c \tanh(a + b) = w^\top y, \qquad c = w^\top \hat u > -1 \tag{N1}
# $$
#
# - the left side increases strictly in $a$, because its slope $1 + c\,(1 - \tanh^2)$ is positive when $c > -1$: there is exactly one root;
# - $\lvert a - w^\top y\rvert \le \lvert c\rvert$, because $\lvert\tanh\rvert \le 1$: we know where to look;
# - then $z = y - \hat u \tanh(a + b)$.
#
# So the inverse of a layer is one root on a line, whatever the dimension. [`planar_root`](../nflib_min/planar.py) finds it with Newton steps that may not leave the bracket. A tempting alternative, iterating $a \leftarrow w^\top y - c \tanh(a + b)$, converges only where the layer is gentle.
#
# A radial layer is kinder: its inverse is the positive root of a quadratic equation, and it is exercise 3. With inverses at hand [`Flow.log_prob`](../nflib_min/flow.py) evaluates $q_K$ anywhere, and two things must hold. At a draw it must repeat what the forward direction said; and over the plane it must integrate to 1, which no error in a determinant survives.

# %%
c, t, iterated = 3.0, np.array([0.5]), np.array([0.5])
a = planar_root(c, 0.0, t)
for _ in range(200):
    iterated = t - c * np.tanh(iterated)
solved, agrees = abs(a + c * np.tanh(a) - t)[0] < 1e-12, abs(iterated - a)[0] < 0.1
print("the bracketed root solves (N1):", solved, "- 200 fixed-point iterations do:", agrees)
assert solved and not agrees

# %%
forks = planar_flow(32)
z, log_q = forks.sample_and_log_prob(trained["U4", 32], 2000, np.random.default_rng(3))
np.testing.assert_allclose(forks.log_prob(trained["U4", 32], z), log_q, atol=1e-6)
cases = [(forks, trained["U4", 32])] + [(Flow(base, f(2, 10)), p) for f, p, base in rows]
for flow, params in cases:
    mass = checks.total_mass(partial(flow.log_prob, params), (-12, 12), points=360)
    assert abs(mass - 1) < 0.01, (flow, mass)
print(f"{len(cases)} densities, each with mass within 0.01 of 1: True")

# %% [markdown]
# The midpoint rule behind [`total_mass`](../nflib_min/checks.py) is exact to many digits on a smooth density; the edges of the square cost it a few parts in a thousand, which is why the tolerance is 0.01.
#
# **The inverse of a planar layer is one root on a line and always exists when $w^\top \hat u > -1$. With it the density is known everywhere, and its integral is a test that every flow has to pass.**
#
# ## Why can a long flow die before it learns anything?
#
# The layer is invertible if $w^\top u \ge -1$. To let an optimizer move freely, the paper trains an unconstrained $u$ and uses (appendix A)
#
# <a id="eq-N2"></a>
#
# $$
# \hat u = u + \left[m(w^\top u) - w^\top u\right] \frac{w}{\lvert w\rvert^2}, \qquad m(a) = -1 + \ln(1 + e^a) \tag{N2}
# $$
#
# - $u$ is changed along $w$ only, so that $w^\top \hat u = m(w^\top u)$;
# - $m(a) > -1$ for every $a$, which is what invertibility needs.
#
# > **Predict.** Initialise 32 layers with $u$ and $w$ drawn from $N(0, 0.01^2)$ and $b = 0$. Every layer seems to do next to nothing. What is the standard deviation of $z_{32}$ if that of $z_0$ is 1?

# %%
rng = np.random.default_rng(1)
tiny = {name: 0.01 * rng.standard_normal((32, 2)) for name in ("u", "w")} | {"b": np.zeros(32)}
z0, sums, spread = gaussian.sample(20_000, np.random.default_rng(4)), {}, {}
for name, printed in (("printed", True), ("shifted", False)):
    stacks = [Planar(2, k, gain=1.0 if printed else GAIN) for k in range(1, 33)]
    ends = [f.forward_and_log_det(first(f.length, tiny), z0) for f in stacks]
    spread[name] = [np.sqrt(np.prod(z.std(axis=0))) for z, _ in ends]
    sums[name] = ends[-1][1].mean()
    print(f"{name}: sum of log-dets {sums[name]:7.2f}, sd {spread[name][-1]:.3f}")
assert abs(sums["printed"] - 32 * np.log(np.log(2))) < 0.05 and spread["printed"][-1] < 0.02
assert abs(sums["shifted"]) < 0.005 and abs(spread["shifted"][-1] - 1) < 0.02
u_hat, _, _ = constrain(tiny["u"], tiny["w"], gain=1.0)
size = np.linalg.norm(u_hat, axis=1) * np.linalg.norm(tiny["w"], axis=1)
np.testing.assert_allclose(size, 1 - np.log(2), rtol=0.1)  # |u_hat| = 0.307 / |w|: huge

# %% [markdown]
# The first line is a collapse. The flow that was meant to start as the identity squeezes the plane to a speck, whose area is smaller by a factor of more than 100,000. The reason is $m(0) = -1 + \ln 2 = -0.307$: at $w^\top u \approx 0$ the printed $m$ returns $-0.307$ instead of 0, so every layer starts with determinant $1 + m(0) = \ln 2$ at its centre, *however small $w$ is*. (For small $w$ the vector $\hat u \approx m(0)\, w / \lvert w\rvert^2$ is huge.) The sum of 32 log-determinants is close to $32 \ln \ln 2 = -11.73$.
#
# The cure is to shift $m$ so that it passes through the origin:
#
# <a id="eq-N3"></a>
#
# $$
# m(a) = -1 + \ln\left(1 + e^{\,a + \ln(e - 1)}\right), \qquad m(0) = 0 \tag{N3}
# $$
#
# It is still above $-1$ everywhere, and a layer with small $u$ now stays near the identity. This is the constraint of [`planar.m`](../nflib_min/planar.py), written there in a form that loses no digits; `Planar(..., printed_constraint=True)` keeps the paper's.

# %% alt="Left: the printed and the shifted constraint against a; only the shifted one passes through the origin. Right: the spread of the draws falls to below 0.01 in 32 layers for the printed one." caption="A gap of 0.307 at the origin (left) multiplies up to a collapse (right). The spread is the geometric mean of the two standard deviations, before any training."
a = np.linspace(-6, 4, 201)
assert np.all(m(a) > -1) and np.all(m(a, gain=1.0) > -1) and m(np.array(0.0)) == 0
figures.constraint(a, spread)

# %% [markdown]
# **A constraint must be the identity where training starts. The printed one multiplies areas by ln 2 in every layer, and a flow of 32 layers begins as a needle; the shifted one begins as the base.**
#
# ## Which of the four targets has a KL at all?
#
# The paper tests its flows on four energies $U$, with density proportional to $e^{-U}$. With $w_1(z_1) = \sin(2\pi z_1/4)$, $w_2(z_1) = 3 e^{-\frac12 [(z_1 - 1)/0.6]^2}$ and $w_3(z_1) = 3 / (1 + e^{-(z_1 - 1)/0.3})$ they are (Table 1)
#
# $$
# \begin{aligned}
# U_1 &= \tfrac12 \left(\tfrac{\lvert z\rvert - 2}{0.4}\right)^2 - \ln\left(e^{-\frac12 \left[\frac{z_1 - 2}{0.6}\right]^2} + e^{-\frac12 \left[\frac{z_1 + 2}{0.6}\right]^2}\right) \\
# U_2 &= \tfrac12 \left[\tfrac{z_2 - w_1}{0.4}\right]^2 \\
# U_3 &= -\ln\left(e^{-\frac12 \left[\frac{z_2 - w_1}{0.35}\right]^2} + e^{-\frac12 \left[\frac{z_2 - w_1 + w_2}{0.35}\right]^2}\right) \\
# U_4 &= -\ln\left(e^{-\frac12 \left[\frac{z_2 - w_1}{0.4}\right]^2} + e^{-\frac12 \left[\frac{z_2 - w_1 + w_3}{0.35}\right]^2}\right)
# \end{aligned}
# $$
#
# and live in [`targets.py`](../nflib_min/targets/table_1.py) under the same names. $U_1$ is two facing arcs. The others are ridges along $z_2 = w_1(z_1)$, with a second ridge in $U_3$ and $U_4$.
#
# > **Predict.** Fix $z_1$ and integrate $e^{-U_4}$ over $z_2$. How does the result depend on $z_1$? What does that say about the integral over the whole plane?

# %%
z2, dz = np.linspace(-9, 5, 4000, retstep=True)
for name, U, c in (("U2", U2, 0.40), ("U3", U3, 0.70), ("U4", U4, 0.75)):
    for z1 in (-50.0, -3.0, 0.0, 1.0, 2.5, 50.0):
        strip = np.stack([np.full_like(z2, z1), z2], axis=1)
        mass = np.exp(-U(strip)).sum() * dz
        assert np.isclose(mass, c * np.sqrt(2 * np.pi), rtol=1e-9)
    print(f"{name}: {mass:.4f} = {c:.2f} sqrt(2 pi) at every z1 tried, from -50 to 50: True")

# %% [markdown]
# It does not depend on $z_1$ at all: a ridge of width $\sigma$ holds mass $\sigma\sqrt{2\pi}$ wherever it bends to. So every vertical strip holds the same mass, the strips never end, and $Z = \infty$. $U_2$, $U_3$ and $U_4$ are **improper**: there is no density to be close to, "KL" is undefined, and the free energy has no lower bound, since $q$ can spread along $z_1$ for ever. The paper plots the window $(-4, 4)^2$ and says nothing of what lies outside; a training run there is stopped by its patience only.
#
# We keep the energies as printed inside the window and build a soft wall at its sides:
#
# <a id="eq-N4"></a>
#
# $$
# \tilde U = U + \frac{\max(\lvert z_1\rvert - 4,\, 0)^2}{2\tau^2}, \qquad Z = c\sqrt{2\pi}\,\left(8 + \tau\sqrt{2\pi}\right), \qquad \tau = 0.5 \tag{N4}
# $$
#
# - $c$ is 0.40, 0.70 and 0.75: the sum of the ridges' widths;
# - 8 is the length of the window, and $\tau\sqrt{2\pi}$ the mass of two Gaussian halves behind the walls;
# - $z_1$ and the offset from the ridge are independent, so that exact draws are easy, too: `fork.sample` made the orange dots in the first figure.
#
# $U_1$ is proper as printed. Its $Z$ has no closed form and is known by quadrature.

# %%
for name in ("U1", "U2", "U3", "U4"):
    target = table_1(name)
    log_Z = np.log(checks.total_mass(target.log_density, (-12, 12), points=1200))
    assert abs(log_Z - target.log_normalizer) < 1e-6
    print(f"{name}: ln Z = {target.log_normalizer:.4f}, quadrature agrees to 1e-6: True")

# %% alt="The fourth energy in a wide window: two ridges that run on for ever, and the same ridges ending at walls. The strip mass is flat without end for the first and falls to zero for the second." caption="Left: as printed the fork never ends. Middle: the wall leaves $(-4, 4)$ as it was and ends the rest. Right: the integral over $z_2$, constant before, is now integrable."
figures.walls(fork)

# %% [markdown]
# **Check that a target has a normalizer before you report a divergence from it. Three of the paper's four test energies have none; with a wall they do, in closed form, and every KL below is absolute, in nats.**
#
# ## How close do 2, 8 and 32 layers come?
#
# What we minimize is the free energy, the negative ELBO:
#
# <a id="eq-15"></a>
#
# $$
# \mathcal F = E_{q_0}\left[\ln q_0(z_0)\right] - E_{q_0}\left[\ln \tilde p(z_K)\right] - E_{q_0}\left[\sum_{k=1}^K \ln\left\lvert 1 + \hat u_k^\top \psi_k(z_{k-1})\right\rvert\right] \tag{15}
# $$
#
# - $\ln \tilde p = -\tilde U$ is the target without its normalizer; in a model it is the joint $\ln p(x, z)$;
# - $1 + \hat u_k^\top \psi_k$ is the planar determinant, with $\psi_k(z) = h'(w_k^\top z + b_k)\, w_k$;
# - every expectation is over $z_0$: draw it, push it forward, average. No inverse is needed for training.
#
# This is `FreeEnergy` in [`objectives.py`](../nflib_min/objectives.py), and [`fit`](../nflib_min/training.py) minimizes it. Since $\ln Z$ is known for all four targets, so is the divergence that remains:
#
# <a id="eq-N5"></a>
#
# $$
# \mathrm{KL}(q_K \,\Vert\, p) = \mathcal F + \ln Z \ge 0 \tag{N5}
# $$
#
# We train twelve planar flows with the recipe `train` and the `budget` from the top, and beside them three flows of the paper's competitor NICE (Non-linear Independent Components Estimation; Dinh et al., 2014) on $U_2$. A NICE layer shifts one coordinate by a small network of the other and has determinant 1; the coordinates are swapped between layers: [`coupling.nice`](../nflib_min/coupling.py). It gets fewer and smaller steps here, so read its row as a neighbour, not as a verdict.
#
# Thousands of steps amplify rounding: another processor may move a KL by a few hundredths of a nat. Another seed moves it further, most at $K = 8$: on $U_2$ we have seen 0.01 and 0.4. The panels carry the numbers of this run; the printed bounds are the part that has to hold everywhere.
#
# A detail that costs people an evening: the paper draws these panels with $z_2$ pointing **down**. By the formulas of Table 1 the second branches of $U_3$ and $U_4$ lie *below* the first, since $w_2$ and $w_3$ are subtracted; everywhere else in this notebook $z_2$ points up.
#
# > **Predict.** Which target needs the fewest layers? Two layers have two directions: what will a sine wave look like with them?

# %%
names, lengths = ("U1", "U2", "U3", "U4"), (2, 8, 32)
goals = {name: table_1(name) for name in names} | {"NICE": table_1("U2")}
flows, kl, for_nice = {}, {}, {"steps": 2000, "batch": 100, "rate": 5e-3}
for name, K in [(name, K) for name in goals for K in lengths]:
    couplings = nice(2, K, np.random.default_rng(0), hidden=(16,))
    flows[name, K] = flow = Flow(gaussian, couplings) if name == "NICE" else planar_flow(K)
    if (name, K) not in trained:
        options = for_nice if name == "NICE" else budget[K]
        trained[name, K] = train(flow, goals[name], **options).params
    params, rng = trained[name, K], np.random.default_rng(5)
    kl[name, K], error = kl_to_target(params, flow, goals[name], 50_000, rng)
    assert kl[name, K] > -5 * error  # a KL is never negative

# %% alt="Targets U1 to U4 beside planar flows of length 2, 8 and 32, and U2 again beside NICE. With each length the flow's density comes closer to its target; at 32 planar layers they match." caption="The paper's Figure 3, trained live, with the KL in nats above each panel. As in the paper $z_2$ points down here, so the second branches of $U_3$ and $U_4$ appear above the first."
figures.figure_3(flows, goals, kl, lengths, trained)

# %%
at_most = {
    2: (0.4, 1.0, 0.9, 1.3, 0.8),
    8: (0.2, 0.5, 0.4, 0.5, 0.5),
    32: (0.05, 0.05, 0.1, 0.1, 0.25),
}
assert min(kl[name, 2] for name in goals) > 0.15
for K, bounds in at_most.items():
    for name, bound in zip(goals, bounds, strict=True):
        assert kl[name, K] < bound, (name, K, kl[name, K])
    print(f"K = {K:2}:", *(f"{n} < {b:g} " for n, b in zip(goals, bounds, strict=True)))

# %%
z_branch = np.array([[2.5, w1(2.5) - w3(2.5)]])
assert z_branch[0, 1] < w1(2.5) and U4(z_branch)[0] < 0.1  # the second branch lies below
for name in goals:
    log_q = partial(flows[name, 32].log_prob, trained[name, 32])
    assert abs(checks.total_mass(log_q, (-9, 9), 300) - 1) < 0.01, name
log_q = partial(flows["U1", 8].log_prob, trained["U1", 8])
exact = checks.kl_by_quadrature(log_q, goals["U1"].log_prob, (-9, 9), 300)
assert abs(kl["U1", 8] - exact) < 0.01  # the average over draws, by a second route
rng = np.random.default_rng(6)
short, _ = kl_from_target(trained["U4", 2], flows["U4", 2], fork, 20_000, rng)
long, _ = kl_from_target(trained["U4", 32], flows["U4", 32], fork, 20_000, rng)
assert short > 1 > 0.2 > long
print("KL(p || q) for the fork: K = 2 above 1 nat, K = 32 below 0.2 nat: True")

# %% [markdown]
# Read the panels by rows. Two layers have two directions, so they bend the Gaussian twice, and a sine wave with four bends is out of reach. The divergence we minimize, $\mathrm{KL}(q \Vert p)$, punishes mass where the target has none and forgives missing mass: short flows therefore cover a part of the ridge and stay silent about the rest. The other direction, $\mathrm{KL}(p \Vert q)$, from exact draws of the target, is the one that notices.
#
# **With a known normalizer "close" becomes a number. Thirty-two planar layers come within a tenth of a nat of all four densities, and much closer on most; two layers stay between about a quarter of a nat and a whole one away, by leaving parts out.**
#
# ## How much does length buy?
#
# The paper sums this up by the bound against $K$. The values on its vertical axis cannot be $E_q[\ln q + U]$ as labelled: for $U_1$ that quantity is at least $-\ln Z = -1.878$. We reproduce the shape, and put the line that the bound cannot cross where it belongs.
#
# > **Predict.** On logarithmic axes, will KL against $K$ be a straight line? The same one for all targets?

# %% alt="Bound minus ln Z, and KL on a log scale, against length for four targets and for NICE on the second. Every curve improves from 2 to 8 to 32 layers, and no bound crosses ln Z." caption="The gap to $\\ln Z$, which no bound crosses (left), and on a log scale (right)."
for name in goals:
    gaps = np.array([kl[name, K] for K in lengths])
    assert gaps[0] > gaps[1] > gaps[2] and gaps[0] > (3 if name == "NICE" else 8) * gaps[2]
figures.gaps(goals, kl, lengths)

# %% [markdown]
# Does the climb reach *any* density, as our title asks? The paper claims universality for infinitesimal flows only, the subject of the next notebook. For $K$ planar layers in a fixed dimension there is no such theorem, and there are results in the other direction (Kong and Chaudhuri, 2020). What we have is a measurement: on these four densities sixteen times the layers shrink the gap by a factor of more than 8.
#
# **Length buys accuracy at a linear price: K layers cost K times one layer, and the gap shrinks by more than a factor of 8 from 2 layers to 32. It is a measurement on four densities, not a theorem about all of them.**
#
# ## When does annealing matter?
#
# The paper warms the target up, multiplying its log density by $\beta_t$:
#
# <a id="eq-20"></a>
#
# $$
# \mathcal F^{\beta_t} = E_{q_0}\left[\ln q_0(z_0)\right] - \beta_t\, E_{q_0}\left[\ln \tilde p(z_K)\right] - E_{q_0}\left[\sum_{k=1}^K \ln\left\lvert 1 + \hat u_k^\top \psi_k(z_{k-1})\right\rvert\right], \qquad \beta_t = \min(1,\ 0.01 + t/10000) \tag{20}
# $$
#
# - $\beta_t$ is an inverse temperature: at 0.01 the target is almost flat, and $q$ spreads over all of it;
# - it multiplies the *joint* $\ln \tilde p$. (The first line of (20) in the paper prints $p_K$ where $q_K$ is meant, and leaves the $\beta$ out.) This is not the later "KL warm-up", which multiplies the KL term of the ELBO;
# - our runs are shorter, so $\beta_t$ reaches 1 after a third of the steps.
#
# We try it on $U_1$, whose two arcs can be lost. Three seeds, with and without annealing, from two starts: the usual one, and one that sits inside the right arc, like the best diagonal Gaussian of [the first notebook](01_elbo.ipynb).
#
# > **Predict.** A run without annealing starts inside one arc. Which KL does it end with, if it learns this arc perfectly and never finds the other?

# %%
arcs, eight, runs, ends = table_1("U1"), planar_flow(8), {}, {}
for seed in range(3):
    for place in ("usual", "in one arc"):
        for annealed in (True, False):
            start = eight.init(np.random.default_rng(seed))
            if place == "in one arc":
                start[0] = {"mean": np.array([2.0, 0.0]), "log_scale": np.log([0.3, 0.8])}
            run = train(eight, arcs, 2000, 128, seed, start, annealed)
            rng = np.random.default_rng(7)
            ends[place, annealed, seed] = kl_to_target(run.params, eight, arcs, 20_000, rng)[0]
            runs[place, annealed, seed] = -run.history["loss"]
    assert abs(ends["in one arc", False, seed] - np.log(2)) < 0.06
    assert ends["in one arc", True, seed] < 0.45
    assert ends["usual", True, seed] < 0.2 and ends["usual", False, seed] < 0.35
print("start in one arc, not annealed: KL within 0.06 of ln 2, 3 seeds of 3: True")
print("start in one arc, annealed: KL < 0.45, 3 seeds of 3: True")
print("usual start, annealed or not: KL < 0.35, 3 seeds of 3: True")

# %% alt="ELBO against step for three seeds, with and without annealing, under the ln Z line. From the usual start all come close to it; from inside one arc those without stay ln 2 below it." caption="Annealed runs look worse first, because they follow a flatter target. From the usual start (left) it matters little; from inside one arc (right) it finds the second arc."
figures.annealing(arcs, runs)


# %% [markdown]
# A lost mode has a recognisable price. If $q$ equals the target inside one of two equal halves and is 0 in the other, then $q = 2p$ where it lives, and $\mathrm{KL}(q \Vert p) = \ln 2 = 0.693$. The ELBO looks healthy, its curve is flat, nothing in training complains: the gradient never sees the arc that has no draws in it. From the usual start, a standard normal over the middle, the difference between the two is small, and that is worth saying as well: with three seeds we would not claim more.
#
# **Annealing is insurance against a start inside one mode. Without it every seed ended at ln 2 nats, the price of losing one of two equal modes; with it every seed found both.**
#
# ## Exercises
#
# Replace `None`, run the cell, then its check. `diagnose` knows the likely mistakes by name.
#
# ### Exercise 1: Follow the density along the path
#
# Equation [(7)](#eq-7) holds at every stage, not only at the last. Given $\ln q_0(z_0)$, shape $(n,)$, and the log-determinants of all layers, shape $(K, n)$, return $\ln q_k(z_k)$ for $k = 0, 1, \dots, K$, shape $(K + 1, n)$.

# %% tags=["exercise"]
def log_densities(log_q0, log_dets):
    return None  # your turn


# %% tags=["check"]
log_q0, log_dets = np.array([-2.0, -3.0]), np.array([[0.5, -1.0], [0.25, 2.0]])
right = np.array([[-2.0, -3.0], [-2.5, -2.0], [-2.75, -4.0]])
mistakes = {"the sign: where a layer stretches the density thins": 2 * log_q0 - right}
mistakes["stage 0 is missing: before any layer the density is q_0"] = right[1:]
mistakes["that is the last stage alone: keep the partial sums"] = right[-1]
mistakes["each layer alone: the log-dets so far add up"] = log_q0 - log_dets
diagnose(log_densities(log_q0, log_dets), right, mistakes)

# %% [markdown]
# ### Exercise 2: How fast is the collapse?
#
# With the printed constraint and nearly zero $u$ and $w$, how many layers does it take until the area of $q$ is smaller than that of $q_0$ by a factor of at least 1000? (A whole number.)

# %% tags=["exercise"]
answer = None  # your turn

# %% tags=["check"]
mistakes = {"nearly: these fall short of 1000, take the next whole number": 18}
mistakes["a layer multiplies the area by ln 2 = 0.693, not by 1/2"] = 10
mistakes["0.307 is -m(0); the determinant is 1 + m(0), and its log adds up"] = 23
mistakes["the determinant is a factor for areas already, not for lengths"] = 38
diagnose(answer, 19, mistakes)


# %% [markdown]
# ### Exercise 3: Invert a radial layer
#
# A radial layer moves a point at distance $r$ from the centre to the distance $R = r + \beta r / (\alpha + r)$, on the same ray. Given $R$, shape $(n,)$, return $r$.

# %% tags=["exercise"]
def inverse_radius(R, alpha, beta):
    return None  # your turn


# %% tags=["check"]
r, alpha, beta = np.array([0.0, 0.5, 3.0]), 0.8, 2.0
R = r + beta * r / (alpha + r)
B, C = alpha + beta - R, -alpha * R  # r^2 + B r + C = 0
mistakes = {"the other root: a distance is not negative": (-B - np.sqrt(B**2 - 4 * C)) / 2}
mistakes["the sign of the linear term, alpha + beta - R"] = (B + np.sqrt(B**2 - 4 * C)) / 2
mistakes["that is the forward map once more"] = R + beta * R / (alpha + R)
mistakes["the layer moved by the amount at r, not at R"] = R - beta * R / (alpha + R)
diagnose(inverse_radius(R, alpha, beta), r, mistakes)

# %% [markdown]
# ## Break it: what if the wall is missing?
#
# Take $U_2$ as the paper prints it, pretend that its normalizer is that of the walled version, and offer a very wide Gaussian. [`check_bound`](../nflib_min/checks.py) knows that no ELBO can lie above $\ln Z$.

# %%
wide, walled = {"mean": np.zeros(2), "log_scale": np.log([1000.0, 0.8])}, table_1("U2")
z, log_q = Flow(gaussian, Affine(2)).sample_and_log_prob(wide, 20_000, np.random.default_rng(8))
try:
    checks.check_bound(-U2(z) - log_q, walled.log_normalizer)
except AssertionError as error:
    print("AssertionError:", error)
gap, _ = checks.check_bound(walled.log_density(z) - log_q, walled.log_normalizer)
print("with the wall the bound holds, more than 1000 nats below ln Z:", gap > 1000)

# %% [markdown]
# **Symptom:** the ELBO is above the log evidence, and a wider $q$ makes it higher still, without end, so training drifts outwards for as long as it runs. **Cure:** a target whose $Z$ is finite. With the wall, the same Gaussian pays dearly.
#
# ## What to remember
#
# - Compose the maps, subtract the log-determinants: $\ln q_K = \ln q_0 - \sum_k \ln\lvert\det J_k\rvert$, each at $z_{k-1}$.
# - A planar layer is inverted by one root on a line, so $q_K$ can be evaluated anywhere; that it integrates to 1 is the test of everything.
# - A constraint should be the identity at initialisation. The printed one starts every layer at $\ln 2$.
# - $U_2$, $U_3$ and $U_4$ are improper as printed. With a wall, $Z$ is exact and KL absolute.
# - Length helps, measurably: from about a quarter of a nat or more at $K = 2$ to less than a tenth at $K = 32$.
# - A gap of $\ln 2$ with a flat training curve means a lost mode. Annealing is the insurance.
#
# ## In practice
#
# | library | planar and radial layers | composition |
# |---|---|---|
# | normflows | `flows.Planar`, `flows.Radial` | a list of flows, first listed = first applied |
# | Pyro | `transforms.Planar`, `transforms.Radial` | a list of transforms, first listed = first applied |
# | flowjax | `bijections.Planar` | `Chain`, first listed = first applied |
# | TensorFlow Probability | none; couplings and autoregressive maps instead | `Chain([f2, f1])`, **last** listed = first applied |
#
# As a rule they offer no inverse of a tanh layer, so the density is known at the flow's own draws only; evaluating it elsewhere needs the root of this notebook. When you meet a planar flow in the wild, look at its $m$ before you blame the optimizer. Today spline couplings and autoregressive flows need far fewer layers for the same accuracy; what they share with this notebook is equation [(7)](#eq-7).
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), *Variational Inference with Normalizing Flows*, ICML: eqs. (6)-(7), (10)-(15) and (20), Figures 1 and 3, Table 1, and the constraint in appendix A.
# - E. G. Tabak and C. V. Turner (2013), *A family of nonparametric density estimation algorithms*, Communications on Pure and Applied Mathematics: where densities were first transported by composing many simple maps, radial ones among them.
# - L. Dinh, D. Krueger and Y. Bengio (2014), *NICE: Non-linear Independent Components Estimation*: the additive coupling layer, volume preserving, that the paper writes as eqs. (16)-(18).
# - Z. Kong and K. Chaudhuri (2020), *The Expressive Power of a Class of Normalizing Flow Models*, AISTATS: what planar and similar layers can and cannot represent, in one dimension and in more.
# - S. R. Bowman et al. (2016), *Generating Sentences from a Continuous Space*, CoNLL: the KL warm-up, which is not the annealing of eq. (20).
