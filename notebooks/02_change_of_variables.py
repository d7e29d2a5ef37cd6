# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   post:
#     categories:
#     - flows
#     date: '2026-11-20'
#     description: Mass balance on a line, areas in a plane, and a planar map whose
#       determinant costs O(D)
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: Where does the determinant come from?
# ---

# %% [markdown]
# # Where does the determinant come from?
#
# From bookkeeping: an invertible map carries probability mass without making or losing any, so where it stretches space the density must thin by the same factor, and that factor is $\lvert\det\rvert$ of its Jacobian.

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

from nflib_min import Bijection, Flow, Inverse, Permute, Planar, StandardNormal, checks
from nflib_min.planar import constrain, planar_layer
from nflib_min.plotting import BASE, DENSITY, FLOW, LOG_DET, panels, show, warped_grid

line = {"u": np.array([1.5]), "w": np.array([2.0]), "b": 0.0}
plane = {"u": np.array([1.5, 0.5]), "w": np.array([1.6, 1.2]), "b": 0.0}


# %%
def square(corner, side, points=200):
    """The edge of a square, from its lower left corner on: shape (4 points, 2)."""
    t = np.linspace(0, 1, points, endpoint=False)
    x, y = np.r_[t, 1 + 0 * t, 1 - t, 0 * t], np.r_[0 * t, t, 1 + 0 * t, 1 - t]
    return np.array(corner) + side * np.stack([x, y], axis=1)


# %% alt="A Gaussian under a square grid, and the same after a planar map that pulls it apart along a diagonal and thins it there. Of two outlined cells one is stretched, one moved." caption="Each cell holds the same mass before (left) and after (right), on one colour scale. The outlined cell near the centre grows almost fourfold and pales; the other moves."
z0, _ = checks.grid((-6.0, 6.0), 200)
z1, log_det = planar_layer(**plane, z=z0)
q0 = np.exp(StandardNormal(2).log_prob(z0))
fig, axes = panels(1, 2, size=3.4)
maps = [lambda z: z, lambda z: planar_layer(**plane, z=z)[0]]
names = r"$z_0 \sim q_0$", r"$z_1 = f(z_0) \sim q_1$"
densities = q0, q0 / np.exp(log_det)
for ax, f, z, q, name in zip(axes[0], maps, (z0, z1), densities, names, strict=True):
    x, y, q = (v.reshape(200, 200) for v in (*z.T, q))
    ax.pcolormesh(x, y, q, cmap=DENSITY, vmin=0, vmax=q0.max(), shading="gouraud")
    warped_grid(ax, f, lines=13, color="#ffffff90", title=name)
    ax.set_ylabel("coordinate 2")
    ax.set_xlabel("coordinate 1", labelpad=4)
    for corner in ([0.0, -0.5], [1.0, 0.5]):
        ax.fill(*f(square(corner, 0.5)).T, fill=False, edgecolor=LOG_DET, linewidth=2.5)
show(fig)

# %% [markdown]
# [Previous: How good is a lower bound?](01_elbo.ipynb) · [Next: How does a simple density become any density?](03_flow_composition.ipynb)
#
# The previous notebook asked for a density that can be sampled *and* whose logarithm can be evaluated. Pushing a Gaussian through an invertible map gives both, at the price of one extra term. Here we find out what that term is, why it has to be there, and how to make it cheap.
#
# After these 45 minutes **you will be able to**
#
# - derive equation (5) of Rezende and Mohamed (2015) from conservation of mass, on a line, in a plane and in $D$ dimensions;
# - check any log-determinant by three independent routes, and compute the planar map's in $O(D)$ instead of $O(D^3)$;
# - recognise a lost factor, a wrong sign and a folded map by the mass they leave behind.
#
# **You need** probability densities, partial derivatives and a little NumPy.
#
# ## Which map do we follow?
#
# **Forward** means $z_0 \to z_K$, from the base to the flow. This notebook has one step, $K = 1$, so forward is $z_0 \to z_1$ and inverse is $z_1 \to z_0$. Other libraries disagree about these words; a table near the end translates.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $z_0 \sim q_0$ | a point and its base density, here a standard normal | `z0`, `StandardNormal` |
# | $z_1 = f(z_0)$, $q_1$ | the moved point and its density | `z1`, `Flow.log_prob` |
# | $J = \partial f / \partial z_0$ | Jacobian: $J_{ij} = \partial f_i / \partial z_{0,j}$ | |
# | $\ln\lvert\det J\rvert$ | how much volume grows at $z_0$, on a log scale | `log_det` |
# | $D$ | number of coordinates | `dim` |
#
# The running example is one planar layer,
#
# <a id="eq-10"></a>
#
# $$
# f(z) = z + u\, h(w^\top z + b) \tag{10}
# $$
#
# - $w \in \mathbb{R}^D$ and $b \in \mathbb{R}$ say *where*: only the number $w^\top z + b$ matters;
# - $u \in \mathbb{R}^D$ says *which way* the points are pushed, by at most $\lvert u\rvert$;
# - $h = \tanh$, so that points on the two sides of the hyperplane $w^\top z + b = 0$ go opposite ways.
#
# The function [`planar_layer`](../nflib_min/planar.py) returns $f(z)$ together with $\ln\lvert\det J\rvert$. We shall not believe its second value until we have derived it.
#
# ## Where does the mass go on a line?
#
# In one dimension the layer is $f(z) = z + u \tanh(wz)$. With $u = 1.5$ and $w = 2$ its slope is $f'(z) = 1 + 3\,(1 - \tanh^2 2z)$: 4 at the origin, close to 1 far away.
#
# > **Predict.** A standard normal has density 0.399 at 0. What is the density of $z_1 = f(z_0)$ at $f(0) = 0$: four times as much, the same, or a quarter?

# %%
base = StandardNormal(1)
z0 = np.linspace(-5, 5, 1001)[:, None]
z1, log_det = planar_layer(**line, z=z0)
q0 = np.exp(base.log_prob(z0))
q1 = q0 / np.exp(log_det)
np.testing.assert_allclose(np.exp(log_det), np.gradient(z1[:, 0], z0[:, 0]), atol=0.02)
print(f"density at 0: {q0[500]:.4f} before, {q1[500]:.4f} after")
assert np.isclose(q0[500] / q1[500], 4)

# %% alt="Left a Gaussian, right its image with two humps, between them lines from points to their images. The lines fan out at the centre, where the image is low and a band grows long." caption="Two bands of equal length in $z_0$. Where the lines fan out, the plain band gets longer and lower; where they run parallel, the hatched one only moves. Areas are kept."
fig, (left, middle, right) = plt.subplots(
    1, 3, figsize=(7.2, 3.8), sharey=True, width_ratios=[1, 1.1, 1], layout="constrained"
)
left.plot(q0, z0, color=BASE)
right.plot(q1, z1, color=FLOW)
middle.plot([0, 1], [z0[200:801:25, 0], z1[200:801:25, 0]], color="0.5", lw=0.7)
for low, high, hatch in ((-0.25, 0.25, None), (1.0, 1.5, "///")):
    band = (z0[:, 0] >= low) & (z0[:, 0] <= high)
    for ax, z, q, color in ((left, z0, q0, BASE), (right, z1, q1, FLOW)):
        ax.fill_betweenx(z[band, 0], 0, q[band], color=color, alpha=0.35, hatch=hatch)
left.set(xlabel="$q_0(z_0)$", ylabel="position", ylim=(-4.7, 4.7), xlim=(0.44, 0))
middle.set(xticks=[0, 1], xticklabels=["$z_0$", "$z_1$"], xlim=(0, 1), title="forward")
right.set(xlabel="$q_1(z_1)$", xlim=(0, 0.44))
show(fig)


# %% [markdown]
# A quarter. Nothing happens to the mass of a band while its points travel; only its length changes. For a band so short that the density hardly varies, mass is density times length, and conservation reads
#
# <a id="eq-N1"></a>
#
# $$
# q_1(z_1)\, \lvert dz_1 \rvert = q_0(z_0)\, \lvert dz_0 \rvert
# \quad\Longrightarrow\quad
# q_1(z_1) = q_0(z_0)\, \left\lvert \frac{dz_1}{dz_0} \right\rvert^{-1} \tag{N1}
# $$
#
# - $\lvert dz_0\rvert$ and $\lvert dz_1\rvert = \lvert f'(z_0)\rvert\, \lvert dz_0\rvert$ are the lengths of the band before and after;
# - the bars are there because a decreasing map reverses a band, and a length has no sign.
#
# If [(N1)](#eq-N1) is right, the mass of any band can be counted on either side. [`checks.total_mass`](../nflib_min/checks.py) sums a density over an interval. It needs $q_1$ at points $z_1$ of its own choice, so it needs to know which $z_0$ each of them came from.
#
# ## How do we find where a point came from?
#
# The paper proves that a planar layer has an inverse (appendix A) and writes none down, since there is no closed form. There is something almost as good. Multiply $z_1 = f(z_0)$ by $w^\top$ and call $a = w^\top z_0$:
#
# <a id="eq-N2"></a>
#
# $$
# a + c\, h(a + b) = w^\top z_1, \qquad c = w^\top u \tag{N2}
# $$
#
# - $a$ is the only unknown, whatever $D$ is;
# - the left side has slope $1 + c\,h'$ with $0 < h' \le 1$, so for $c > -1$ it always increases and has exactly one root, which lies within $\lvert c\rvert$ of $w^\top z_1$;
# - once $a$ is known, $z_0 = z_1 - u\,h(a + b)$.
#
# So the bracket can be halved until it is as narrow as rounding allows. That makes the layer a [`Bijection`](../nflib_min/bijections.py): two methods, each returning points and the log-determinant *of that call*. (The library's own `Planar` finds the root faster, by `planar_root` in [`planar.py`](../nflib_min/planar.py), and adds a guard on $c$. We leave the guard out here: at the end we want to see what it guards against.)

# %%
class Layer(Bijection):
    """One planar layer with nothing done about w.u: params are u (d,), w (d,) and b."""

    def __init__(self, dim):
        self.dim = dim

    def forward_and_log_det(self, params, z0):
        return planar_layer(**params, z=z0)

    def inverse_and_log_det(self, params, z1):
        u, w, b = params["u"], params["w"], params["b"]
        t, c = z1 @ w, w @ u
        low, high = t - abs(c), t + abs(c)  # the root of eq. (N2) is between
        for _ in range(60):
            a = (low + high) / 2
            below = a + c * np.tanh(a + b) < t
            low, high = np.where(below, a, low), np.where(below, high, a)
        z0 = z1 - u * np.tanh(a + b)[:, None]
        return z0, -planar_layer(**params, z=z0)[1]

    def __repr__(self):
        return f"Layer({self.dim})"


# %%
on_line = Flow(base, Layer(1))
np.testing.assert_allclose(on_line.log_prob(line, z1), np.log(q1), atol=1e-11)
for low, high in ((-0.25, 0.25), (1.0, 1.5), (-5.0, 1.0)):
    (start,), (end,) = on_line.bijection.forward(line, np.array([[low], [high]]))
    before = checks.total_mass(base.log_prob, (low, high), 4000, 1)
    after = checks.total_mass(lambda z: on_line.log_prob(line, z), (start, end), 4000, 1)
    assert abs(before - after) < 1e-6
    print(f"length {high - low} -> {end - start:.3f}, mass {before:.4f} -> {after:.4f}")


# %% [markdown]
# Three bands, each counted on both sides: the lengths change, the masses do not. [`Flow.log_prob`](../nflib_min/flow.py) went backwards through the inverse, the figure went forwards from $z_0$, and the first assertion says that they are one density. Equation (5) is the same statement for any dimension.
#
# **An invertible map moves mass and keeps its amount; density is mass per length, so it is divided by how much the map stretches.**
#
# ## Which of the two forms of (5) do you need?
#
# The paper states the change of variables twice in one line, for a map of any dimension:
#
# <a id="eq-5"></a>
#
# $$
# q_1(z_1) = q_0(z_0) \left\lvert \det \frac{\partial f^{-1}}{\partial z_1} \right\rvert
# = q_0(z_0) \left\lvert \det \frac{\partial f}{\partial z_0} \right\rvert^{-1},
# \qquad z_1 = f(z_0) \tag{5}
# $$
#
# - the **inverse-function form** takes a point $z_1$, finds $z_0 = f^{-1}(z_1)$ and multiplies by how much the *inverse* stretches: this evaluates $q_1$ anywhere;
# - the **forward form** takes a point $z_0$, moves it and divides by how much *f* stretches: this is for samples, where $z_0$ is known, and needs no inverse;
# - they agree because $\partial f^{-1}/\partial z_1$ is the inverse matrix of $\partial f/\partial z_0$, and so their determinants are reciprocal;
# - the paper prints one letter $q$ for both densities; we write $q_0$ and $q_1$.
#
# Variational inference draws its own samples, so the forward form is all that training needs. The inverse-function form is how we *check*, because a density that can be evaluated anywhere can be integrated.
#
# Both forms multiply the stretch by $q_0(z_0)$. In copying [(5)](#eq-5) that factor is easily lost, because the second equality still looks balanced without it: a determinant on each side. What is left is not a density.
#
# > **Predict.** What does $\lvert\det \partial f/\partial z_0\rvert^{-1}$ alone integrate to over $-8 \le z_1 \le 8$? And over $-16 \le z_1 \le 16$?

# %%
def without_q0(z1):  # (5) with the factor q_0(z_0) lost
    return on_line.bijection.inverse_and_log_det(line, z1)[1]


for edge in (8.0, 16.0):
    mass = checks.total_mass(lambda z: on_line.log_prob(line, z), (-edge, edge), 4000, 1)
    lost = checks.total_mass(without_q0, (-edge, edge), 4000, 1)
    (start,), (end,) = on_line.bijection.inverse(line, np.array([[-edge], [edge]]))
    assert abs(mass - 1) < 1e-9 and abs(lost - (end - start)) < 1e-4
    print(f"over [-{edge:.0f}, {edge:.0f}]: (5) gives {mass:.4f}, without q_0 {lost:.2f}")

# %% alt="A two-humped histogram of draws with the curve of equation (5) on top of it. A dotted curve without the base density rises to one in both tails." caption="Equation (5) runs along the histogram of draws. Without the factor $q_0(z_0)$ the curve tends to 1 in the tails, where the map only shifts: its integral has no end."
z1 = np.linspace(-4.7, 4.7, 801)[:, None]
draws = on_line.sample(line, 40_000, np.random.default_rng(1))
fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
ax.hist(draws[:, 0], bins=80, range=(-4.7, 4.7), density=True, color="0.8", label="draws")
ax.plot(z1, np.exp(on_line.log_prob(line, z1)), color=FLOW, lw=2, label="by (5)")
ax.plot(z1, np.exp(without_q0(z1)), color=LOG_DET, ls=":", lw=2.5, label="without $q_0$")
ax.set(xlabel="$z_1$", ylabel="density", xlim=(-4.7, 4.7), ylim=(0, 1.05))
ax.legend(frameon=False, loc="upper center")
show(fig)


# %% [markdown]
# Without $q_0$ the integral is $\int \lvert dz_0/dz_1\rvert\, dz_1$, which is a length: that of the interval in $z_0$ that lands in the window. It is 13 for the small window and 29 for the large one, and it says nothing about probability.
#
# **The stretch converts lengths, never masses: multiply it by $q_0(z_0)$, and test the product by its integral, which must be 1.**
#
# ## Why does a determinant measure area?
#
# In two dimensions the map bends a small square into something with curved sides. The smaller the square, the straighter they get: to first order $f(z + \delta) = f(z) + J\delta$, so the image of a square with side $s$ is the parallelogram spanned by $s$ times the columns of $J$. Differentiating [(10)](#eq-10) gives this matrix:
#
# <a id="eq-11"></a>
#
# $$
# J = \frac{\partial f}{\partial z} = I + u\, \psi(z)^\top, \qquad \psi(z) = h'(w^\top z + b)\, w \tag{11}
# $$
#
# - $I$ is what stays: the identity;
# - $u\,\psi^\top$ is a matrix of rank one: whatever goes in, the change comes out along $u$;
# - $h' = 1 - \tanh^2$ is largest, namely 1, on the hyperplane.
#
# The area of a parallelogram is the absolute value of the determinant of its two sides. That is the whole reason for a determinant in [(5)](#eq-5).
#
# > **Predict.** At the origin $w^\top u = 1.6 \cdot 1.5 + 1.2 \cdot 0.5 = 3$. How much larger does a tiny square get there?

# %%
def area(edge):
    """The area inside a closed polygon, shape (n, 2), by the shoelace formula."""
    (x, y), (x_next, y_next) = edge.T, np.roll(edge, -1, axis=0).T
    return 0.5 * abs(np.sum(x * y_next - y * x_next))


def jacobian(params, z):
    """J = I + u psi(z)^T at one point z, eq. (11)."""
    psi = (1 - np.tanh(params["w"] @ z + params["b"]) ** 2) * params["w"]
    return np.eye(len(z)) + np.outer(params["u"], psi)


# %%
centre, sides = np.array([0.35, -0.05]), np.array([0.8, 0.4, 0.2, 0.1])
J = jacobian(plane, centre)
edges = [planar_layer(**plane, z=square(centre - s / 2, s, 5000))[0] for s in sides]
ratios = np.array([area(edge) for edge in edges]) / sides**2
order = np.polyfit(np.log(sides), np.log(abs(ratios - np.linalg.det(J))), 1)[0]
assert abs(order - 2) < 0.1 and np.isclose(np.linalg.det(jacobian(plane, 0 * centre)), 4)
print("sides", sides, "-> areas grow by", ratios.round(3))
print(f"|det J| = {np.linalg.det(J):.3f}; the difference shrinks like side^{order:.1f}")

# %%
total = checks.total_mass(lambda z: planar_layer(**plane, z=z)[1], (-3.0, 3.0), 600)
boundary = area(planar_layer(**plane, z=square([-3.0, -3.0], 6.0, 20_000))[0])
np.testing.assert_allclose(total, boundary, rtol=1e-6)
print(f"area 36.00 becomes {total:.2f}, and the boundary encloses {boundary:.2f}")
assert 3.7 < area(planar_layer(**plane, z=square([0.0, -0.5], 0.5))[0]) / 0.5**2 < 4
swap = Permute([1, 0])
assert np.isclose(np.linalg.det(swap.forward({}, np.eye(2))), -1)
assert np.all(swap.forward_and_log_det({}, np.ones((3, 2)))[1] == 0)

# %% alt="Left three nested squares, right their images with curved sides and, dotted, the parallelograms spanned by the columns of J. The smallest image and parallelogram coincide." caption="The images of three nested squares (solid) and the parallelograms of the linearised map (dotted): the smaller the square, the better they match."
fig, axes = panels(1, 2, size=3.2)
image = planar_layer(**plane, z=centre[None])[0][0]
for ax, name in zip(axes[0], ("$z_0$", "$z_1 = f(z_0)$"), strict=True):
    ax.set(aspect="equal", title=name, xlim=(-1.2, 2.9), ylim=(-1.6, 2.5))
    ax.set_xlabel("coordinate 1")
axes[0, 0].set_ylabel("coordinate 2")
for s, edge in zip(sides[:3], edges[:3], strict=True):
    axes[0, 0].fill(*square(centre - s / 2, s).T, fill=False, edgecolor=BASE, lw=1.8)
    axes[0, 1].fill(*edge.T, fill=False, edgecolor=FLOW, lw=1.8)
    tangent = image + (square(centre - s / 2, s) - centre) @ J.T
    axes[0, 1].fill(*tangent.T, fill=False, edgecolor=LOG_DET, ls=":", lw=2)
axes[0, 1].legend(["image", "columns of $J$"], frameon=False, loc="upper left")
show(fig)

# %% [markdown]
# The difference between the true area and $\lvert\det J\rvert$ falls with the square of the side: the linear error of a first-order approximation cancels because the square is centred (about a corner only the first power is left). At the origin the factor is exactly 4, as on the line: $u$ and $w$ were chosen so that $w^\top u = 3$ again, and that product is all that the determinant sees.
#
# Small squares add up. Over the whole grid of the first figure, the area inside the warped boundary is the integral of $\lvert\det J\rvert$ over the original square: 58.23 by either route. And a map that exchanges the two coordinates has determinant $-1$: it turns the plane over and leaves every area as it was, which is why [(5)](#eq-5) has bars.
#
# **The columns of the Jacobian are the sides that a tiny square gets; their determinant is its new area over its old.**
#
# ## Does the same hold in D dimensions?
#
# Nothing in the argument was special to the plane: a tiny cube becomes a parallelepiped, and its volume is $\lvert\det J\rvert$ times the cube's. Written for a whole region $A$ instead of one tiny piece, conservation of mass says that for *every* $A$
#
# <a id="eq-N3"></a>
#
# $$
# \int_A q_0(z_0)\, dz_0 = \int_{f(A)} q_1(z_1)\, dz_1
# = \int_A q_1(f(z_0))\, \left\lvert\det \frac{\partial f}{\partial z_0}\right\rvert dz_0 \tag{N3}
# $$
#
# - the first equality is the statement that $f$ takes the mass in $A$ to $f(A)$ and no other mass arrives there, which needs $f$ to be one-to-one;
# - the second is substitution in an integral;
# - two continuous integrands whose integrals agree over every region are equal, and this is [(5)](#eq-5).
#
# In code we keep logarithms, $\ln q_1(z_1) = \ln q_0(z_0) - \ln\lvert\det J\rvert$, because a product of many small numbers underflows and a sum does not.
#
# A grid in five dimensions would need too many points to confirm that the mass is 1, but the log-determinant itself can be checked at any point. There are three routes to it that share no code: the formula, the whole Jacobian by autodiff ([`log_det_by_autodiff`](../nflib_min/checks.py), $D$ reverse passes and a determinant), and the whole Jacobian by central differences, $\partial f/\partial z_i \approx [f(z + \epsilon e_i) - f(z - \epsilon e_i)] / 2\epsilon$.

# %%
rng = np.random.default_rng(2)
u, w = rng.standard_normal((2, 5))
u += (3 - w @ u) * w / (w @ w)  # along w, until w.u = 3 as before
space = {"u": u, "w": w, "b": 0.3}
z0 = rng.standard_normal((200, 5))
_, formula = planar_layer(**space, z=z0)
autodiff = checks.log_det_by_autodiff(Layer(5), space, z0)
np.testing.assert_allclose(formula, autodiff, atol=1e-12)
steps = (1e-2, 1e-3, 1e-5, 1e-9)
error = {}
for step in steps:
    differences = checks.log_det_by_differences(Layer(5), space, z0, step)
    error[step] = np.abs(differences - formula).max()
assert 95 < error[1e-2] / error[1e-3] < 105  # a tenth of the step
assert error[1e-5] < 1e-8 and error[1e-9] > 10 * error[1e-5]  # rounding takes over
print("formula = autodiff to 1e-12, = differences (step 1e-5) to 1e-8: True")

# %% [markdown]
# Differences agree to fewer digits, and the best step is neither large nor tiny: a large step sees the curvature of $f$, an error that falls like $\epsilon^2$, and a tiny one subtracts nearly equal numbers, an error that rises like $1/\epsilon$. So a disagreement of $10^{-8}$ with differences is no reason to doubt a formula, and one of $10^{-2}$ is.
#
# **In any dimension density is divided by $\lvert\det J\rvert$, and a log-determinant deserves belief once formula, autodiff and differences agree.**
#
# ## Can we do without the determinant's D³?
#
# A determinant by elimination costs about $D^3/3$ multiplications, for every point and every layer. This is where [(11)](#eq-11) pays: $J$ is the identity plus a matrix of rank one. Take any vector $v$. If $v \perp \psi$, then $Jv = v + u\,(\psi^\top v) = v$: there are $D - 1$ such directions, and nothing happens to them. And $Ju = u + u\,(\psi^\top u) = (1 + \psi^\top u)\,u$. The determinant is the product of the eigenvalues, $D - 1$ ones and a single number:
#
# <a id="eq-12"></a>
#
# $$
# \left\lvert\det \frac{\partial f}{\partial z}\right\rvert = \left\lvert\det(I + u\,\psi(z)^\top)\right\rvert = \left\lvert 1 + u^\top \psi(z) \right\rvert \tag{12}
# $$
#
# - this is the matrix determinant lemma (if $\psi^\top u = 0$ the eigenvectors no longer span the space, but both sides are continuous in $u$, so it holds there too);
# - $u^\top\psi = w^\top u\; h'(w^\top z + b)$: one product $c = w^\top u$ and one derivative.

# %%
J = jacobian(space, z0[0])
psi = (1 - np.tanh(w @ z0[0] + 0.3) ** 2) * w
eigenvalues = np.sort(np.linalg.eigvals(J).real)
np.testing.assert_allclose(eigenvalues, [1, 1, 1, 1, 1 + u @ psi], atol=1e-6)
np.testing.assert_allclose(np.linalg.slogdet(J)[1], np.log(1 + u @ psi), atol=1e-12)
print("eigenvalues of J:", eigenvalues.round(3))


# %% [markdown]
# How much does it save? Time depends on the machine, but multiplications can be counted. Both functions below start from $u, w, b, z$ and count what they multiply or divide; the second eliminates column by column, as a textbook does.
#
# > **Predict.** Double $D$. By what factor does each count grow?

# %%
def by_lemma(u, w, b, z):
    """ln|det J| by eq. (12), and the multiplications it takes."""
    h = np.tanh(w @ z + b)  # D
    return np.log(abs(1 + (w @ u) * (1 - h * h))), 2 * u.size + 2  # D, and 2


def by_elimination(u, w, b, z):
    """ln|det J| from the whole Jacobian, and the multiplications it takes."""
    A = jacobian({"u": u, "w": w, "b": b}, z)
    count = 2 * u.size + 1 + A.size  # w.z, h', psi and u psi^T
    for i in range(len(A) - 1):
        factors = A[i + 1 :, i] / A[i, i]
        step = np.outer(factors, A[i, i + 1 :])
        A[i + 1 :, i + 1 :] -= step
        count += factors.size + step.size
    return np.log(abs(np.prod(np.diag(A)))), count + len(A) - 1


# %% alt="Multiplications a point against dimension, on log scales: the lemma's count rises to about five hundred at D = 256 with slope one, elimination's to millions with slope three." caption="Counted, not timed: the two slopes are 1 and 3."
dims = 2 ** np.arange(1, 9)
counts = np.zeros((len(dims), 2), dtype=int)
for row, d in enumerate(dims):
    u, w, z = rng.standard_normal((3, d)) / np.sqrt(d)
    lemma, counts[row, 0] = by_lemma(u, w, 0.3, z)
    full, counts[row, 1] = by_elimination(u, w, 0.3, z)
    assert abs(lemma - full) < 1e-8
growth = counts[-1] / counts[-2]
assert np.allclose(growth, [2, 8], rtol=0.02) and counts[0, 1] == 2 * counts[0, 0]
assert counts[-1, 1] > 11_000 * counts[-1, 0] and np.isclose(counts[-1, 1], 256**3 / 3, 0.02)
print(f"from D = 128 to 256: {growth[0]:.2f} and {growth[1]:.2f} times as many")
fig, ax = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
ax.loglog(dims, counts[:, 0], "o-", color=FLOW, label="determinant lemma, eq. (12)")
ax.loglog(dims, counts[:, 1], "s--", color=LOG_DET, label="elimination on $J$")
ax.set_xscale("log", base=2)
ax.set(xlabel="dimension $D$", ylabel="multiplications a point")
ax.legend(frameon=False)
show(fig)

# %% [markdown]
# At $D = 2$ the two differ by a factor of two, at $D = 256$ by eleven thousand. The paper puts a generic invertible network of $L$ layers at $O(LD^3)$, gradient included, and looks for maps whose determinant is cheap before it looks at anything else.
#
# **The planar map changes space along one direction only, so its determinant is one number, $1 + u^\top\psi$, for $O(D)$ work.**
#
# ## Do averages need the determinant?
#
# Often we want no density but an average, $E_{q_1}[g(z_1)]$. By definition that is an integral against $q_1$, determinant and all. But a sample of $q_1$ is a moved sample of $q_0$, so we may as well average $g(f(z_0))$ over the base. This is the law of the unconscious statistician (LOTUS):
#
# <a id="eq-8"></a>
#
# $$
# E_{q_1}[g(z_1)] = E_{q_0}[g(f(z_0))] \tag{8}
# $$
#
# - $g$ is any function of the point (the paper calls it $h$; here $h$ is taken by [(10)](#eq-10));
# - no determinant appears, because the substitution that puts $\lvert\det J\rvert$ into the integral also puts $\lvert\det J\rvert^{-1}$ into the density.

# %%
in_plane = Flow(StandardNormal(2), Layer(2))
z, cell = checks.grid((-9.0, 9.0), 400)
q0, q1 = np.exp(in_plane.base.log_prob(z)), np.exp(in_plane.log_prob(plane, z))
z1, log_det = in_plane.bijection.forward_and_log_det(plane, z)
assert abs(q1.sum() * cell - 1) < 1e-8  # in the plane, too, (5) keeps the mass
with_det, without = (np.sum(q * g**2) * cell for q, g in ((q1, z[:, 0]), (q0, z1[:, 0])))
assert abs(with_det - without) < 1e-7
print(f"mean square of coordinate 1: {with_det:.4f} by q_1, {without:.4f} by q_0")

# %% [markdown]
# There is one exception, and it is the one that matters to us: if $g$ contains $q_1$ itself, the determinant comes back through the density. The entropy $-E_{q_1}[\ln q_1]$ is such an average, and it sits in every evidence lower bound:
#
# <a id="eq-N4"></a>
#
# $$
# -E_{q_1}[\ln q_1(z_1)] = -E_{q_0}[\ln q_0(z_0)] + E_{q_0}\!\left[\ln\left\lvert\det \frac{\partial f}{\partial z_0}\right\rvert\right] \tag{N4}
# $$
#
# - the first term on the right is the entropy of the base, $\tfrac D2 \ln 2\pi e$ for a standard normal;
# - the second is the average log-stretch: a map adds as much entropy as it adds log-volume where the mass is.

# %%
entropy = -np.sum(q1 * in_plane.log_prob(plane, z)) * cell  # by the definition
gain = np.sum(q0 * log_det) * cell
np.testing.assert_allclose(entropy, np.log(2 * np.pi * np.e) + gain, atol=1e-7)
log_dets = planar_layer(**plane, z=rng.standard_normal((20_000, 2)))[1]
assert abs(log_dets.mean() - gain) < 5 * log_dets.std() / np.sqrt(20_000)
print(f"entropy {entropy:.4f} nats = {np.log(2 * np.pi * np.e):.4f} + {gain:.4f}")


# %% [markdown]
# **Averages of functions of the point need no determinant; averages of the log-density need the mean log-determinant, and from samples of the base alone.**
#
# ## Exercises
#
# Each check says "not attempted", "correct", or what went wrong.
#
# ### Exercise 1: write a density from scratch
#
# Let $z_0 \sim \mathcal{N}(0, 1)$ and $z_1 = \sinh z_0$. Write $\ln q_1(z_1)$. You will need `np.arcsinh`, and $\frac{d}{dz}\sinh z = \cosh z$. Decide first which form of [(5)](#eq-5) applies and at which point each factor is evaluated.

# %% tags=["exercise"]
def log_q1(z1):
    """ln q_1 at points z1, shape (n,), for z1 = sinh(z0) and z0 ~ N(0, 1): (n,)."""
    return None  # your turn


# %% tags=["check"]
z1 = np.linspace(-6, 6, 12)
given, z0 = log_q1(z1), np.arcsinh(z1)
log_q0, log_det = -0.5 * z0**2 - 0.5 * np.log(2 * np.pi), np.log(np.cosh(z0))
verdicts = {
    "correct": log_q0 - log_det,
    "this is q_1 itself: take the logarithm": np.exp(log_q0 - log_det),
    "the log-det is missing: the mass moved but was not thinned": log_q0,
    "the sign: stretching lowers the density, so subtract": log_q0 + log_det,
    "ln q_0 is missing: a stretch alone is no density": -log_det,
    "the point: cosh belongs at arcsinh(z1), not at z1": log_q0 - np.log(np.cosh(z1)),
    "the point: q_0 belongs at z0, not at z1": log_q0 + (z0**2 - z1**2) / 2 - log_det,
}
if given is None:
    print("not attempted")
else:
    found = [words for words, value in verdicts.items() if np.allclose(given, value)]
    print(found[0] if found else "not yet, and no usual slip: is the total mass 1?")


# %% [markdown]
# ### Exercise 2: read a determinant off the picture
#
# The radial map (14), $f(z) = z + \beta\,(z - z_\text{ref})/(\alpha + r)$ with $r = \lvert z - z_\text{ref}\rvert$, moves points along rays. Write its $\ln\lvert\det\rvert$ without any matrix: by how much does it stretch in each of the $D - 1$ directions *across* the ray (think of how a circle of radius $r$ grows), and by how much *along* the ray (the derivative of the new radius by the old)?

# %% tags=["exercise"]
def log_det_radial(r, alpha, beta, d):
    """ln|det| of the radial map in d dimensions, at distances r from its centre: (n,)."""
    return None  # your turn


# %% tags=["check"]
from nflib_min.radial import radial_layer

r, alpha, beta, d = np.array([0.2, 1.0, 3.0]), 0.7, 1.5, 4
given = log_det_radial(r, alpha, beta, d)
across, along = 1 + beta / (alpha + r), 1 + alpha * beta / (alpha + r) ** 2
verdicts = {
    "correct": radial_layer(np.zeros(d), alpha, beta, np.outer(r, np.eye(d)[0]))[1],
    "one direction across counts once; there are d - 1 of them": np.log(across * along),
    "along the ray it is the derivative of the new radius": d * np.log(across),
    "only the directions across: the ray is missing": (d - 1) * np.log(across),
    "only the ray: the d - 1 directions across are missing": np.log(along),
    "this is det itself: take the logarithm": across ** (d - 1) * along,
}
if given is None:
    print("not attempted")
else:
    found = [words for words, value in verdicts.items() if np.allclose(given, value)]
    print(found[0] if found else "not yet: try d = 1, where only the ray is left")

# %% [markdown]
# ## Break it: what if u points the other way?
#
# Turn $u$ around on the line: $u = -1.5$, so $w^\top u = -3 < -1$. The paper's condition for a planar layer to be invertible is $w^\top u \ge -1$ (at exactly $-1$ the determinant vanishes on the hyperplane, so we keep to $>$). Now $f'(0) = 1 - 3 = -2$: the middle runs backwards while the tails still run forwards. The line is *folded*.

# %%
folded = {"u": np.array([-1.5]), "w": np.array([2.0]), "b": 0.0}
near = np.linspace(-1.2, 1.2, 9)[:, None]
for route in (checks.log_det_by_autodiff, checks.log_det_by_differences):
    assert np.allclose(route(Layer(1), folded, near), planar_layer(**folded, z=near)[1])
try:
    checks.check_bijection(Layer(1), folded, near)
except AssertionError as error:
    print(error)

# %% [markdown]
# Formula, autodiff and differences still agree on the log-determinant: each looks at one point and its neighbours, and locally nothing is wrong. What is lost is global. The round trip does not come home, because several points share one image and the inverse can return only one of them.
#
# > **Predict.** Where three points share an image, one is counted. Will the density by [(5)](#eq-5) integrate to 1, to about a third, or to less?

# %%
z0, cell = checks.grid((-6.0, 6.0), 40_000, 1)
z1, log_det = planar_layer(**folded, z=z0)
weights = np.exp(base.log_prob(z0)) * cell  # the mass of each little piece of the base
home = np.abs(Layer(1).inverse(folded, z1) - z0)[:, 0] < 1e-6
mass = checks.total_mass(lambda z: on_line.log_prob(folded, z), (-9.0, 9.0), 20_000, 1)
assert abs(mass - weights[home].sum()) < 1e-3 and abs(mass - 1) > 0.5
print(f"mass {mass:.2f}; of the points that come home {weights[home].sum():.2f}")

# %% alt="Left an increasing curve and a folded one that meets height 0 three times. Right the histogram of folded draws, tall in the middle, with the density by (5) far below it." caption="The folded map sends three points to one place (left), and the draws pile up where it turns back. Equation (5) counts one point of three and misses most draws (right)."
z = np.linspace(-4, 4, 1601)[:, None]
draws = planar_layer(**folded, z=base.sample(40_000, np.random.default_rng(5)))[0]
three = np.r_[Layer(1).inverse(folded, np.array([[-1e-12], [1e-12]])), [[0.0]]]
assert np.abs(planar_layer(**folded, z=three)[0]).max() < 1e-9 and np.ptp(three) > 2
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.3), layout="constrained")
left.plot(z, planar_layer(**line, z=z)[0], color=FLOW, label="$w^T u = 3$")
left.plot(z, planar_layer(**folded, z=z)[0], "--", color=LOG_DET, label="$w^T u = -3$")
left.plot(three, 0 * three, "o", color="#333333", label="all land on 0")
left.set(xlabel="$z_0$", ylabel="$z_1$", xlim=(-3, 3), ylim=(-3.2, 3.2))
right.hist(draws[:, 0], bins=120, range=(-3, 3), density=True, color="0.8", label="draws")
right.plot(z, np.exp(on_line.log_prob(folded, z)), "--", color=LOG_DET, label="by (5)")
right.set(xlabel="$z_1$", ylabel="density", xlim=(-3, 3), ylim=(0, 1.25))
for ax in (left, right):
    ax.legend(frameon=False, loc="upper left", fontsize=8.5)
show(fig)

# %% [markdown]
# Less: 0.14, which is the base mass of the points that come home. Our root finder keeps an outer point of the three, and those are rare in the base.
#
# In variational inference nobody evaluates $q_1$ through an inverse, so this can go unnoticed. The forward form hands out $q_0(z_0)/\lvert\det J\rvert$ for each draw, which is one of up to three shares of the density that is really there. Each $\ln q_1$ is then too low, the evidence lower bound too high, and a Kullback-Leibler (KL) divergence, which cannot be negative, comes out negative. Measured against the true density of the folded draws it should be 0. But a share over the whole is the probability of having come by that branch, so what comes out is minus the mean entropy of the branch: between $-\ln 3$ and 0.
#
# The cure is to forbid $w^\top u \le -1$. [`constrain`](../nflib_min/planar.py) moves $u$ along $w$ until $c > -1$ (appendix A of the paper), and `Planar` does so for you. First the symptom, then the cure:

# %%
share = np.exp(base.log_prob(z0) - log_det)
turn = np.arctanh(np.sqrt(2 / 3)) / 2  # f' = 0 at -turn and at turn
density = np.zeros(len(z0))
for branch in (z0[:, 0] < -turn, abs(z0[:, 0]) < turn, z0[:, 0] > turn):
    order = np.argsort(z1[branch, 0])
    y, share_of_branch = z1[branch, 0][order], share[branch][order]
    density += np.interp(z1[:, 0], y, share_of_branch, left=0, right=0)
kl = np.sum(weights * np.log(share / density))
assert -np.log(3) < kl < -0.5
print(f"'KL divergence' of the folded density from itself: {kl:.2f} nats")

u_hat, c, _ = constrain(folded["u"], folded["w"])
cured = folded | {"u": u_hat}
mass = checks.total_mass(lambda z: on_line.log_prob(cured, z), (-9.0, 9.0), 20_000, 1)
guarded = Flow(base, Planar(1, length=1))
raw = {name: np.array([value]) for name, value in folded.items()}
assert np.allclose(guarded.log_prob(raw, near), on_line.log_prob(cured, near))
assert c > -1 and abs(mass - 1) < 1e-6
print(f"after constrain: w.u = {c:.3f}, mass {mass:.4f}")

# %% [markdown]
# **Symptom:** a round trip that does not come home, a mass other than 1, a bound above $\ln Z$ (by 0.89 nats here), while every local check passes. **Cure:** keep $w^\top u > -1$. The next notebook looks at this constraint more closely, since as printed it has a side effect.
#
# ## What to remember
#
# - Mass is conserved; density is mass per volume; so $\ln q_1(z_1) = \ln q_0(z_0) - \ln\lvert\det J\rvert$.
# - Forward form for samples, inverse-function form for given points; both contain $q_0(z_0)$.
# - Integrate: a lost factor, a wrong sign and a fold all show in the mass.
# - Local checks (formula, autodiff, differences) prove a log-determinant; that a map is one-to-one shows in round trips and in the total mass.
# - A rank-one change of the identity has the determinant $1 + u^\top\psi$: $O(D)$ instead of $O(D^3)$.
# - Averages of the point need no determinant; the entropy needs the mean log-determinant.
#
# ## In practice: which way is forward?
#
# Two families of libraries use the same words for opposite directions. Where the map goes from the base to the data, the log-density *subtracts* its log-determinant; where it goes from the data to the base ("noise"), the log-density *adds* it. Both are (5).
#
# | where | the map goes | $\ln q_1(z_1)$ is $\ln q_0(z_0)$ | first in a list stands |
# |---|---|---|---|
# | the paper, (5)-(7) | $f$: base → flow | minus $\ln\lvert\det\partial f/\partial z\rvert$ | next to the base |
# | `nflib_min` | `forward`: base → flow | minus the log-det of `forward_and_log_det` | next to the base |
# | TensorFlow Probability | `forward`: base → data | plus `inverse_log_det_jacobian(y)` | next to the *data*: `Chain([f, g])` is $f \circ g$ |
# | `torch.distributions`, Pyro | `t(x)`: base → data | minus `log_abs_det_jacobian(x, y)` | next to the base |
# | normflows | `forward`: base → data | minus the second value of `forward` | next to the base |
# | flowjax | `transform`: base → data | minus that of `transform_and_log_det` | next to the base |
# | nflows | `forward`: *data → noise* | *plus* the second value of `forward` | next to the *data* |
# | zuko | `transform`: *data → base* | *plus* the second value of `call_and_ladj` | next to the *data* |
#
# (Read in the sources of TensorFlow Probability 0.25, Pyro 1.9.2, normflows 1.7.3, flowjax 19.1, nflows 0.14 and zuko 1.6, and in the documentation of PyTorch. Conventions do change: early versions of normflows returned the opposite sign from `NormalizingFlow.forward_and_log_det`.)
#
# The planar map itself is `normflows.flows.Planar`, `pyro.distributions.transforms.Planar` and `flowjax.bijections.Planar`. With $h = \tanh$ none of the three inverts it at a point that it has not itself produced, so none can do what this notebook did most: integrate the density.
#
# Whatever you use, write the density in its convention, compare, and integrate. [`Inverse`](../nflib_min/bijections.py) turns our map into the second family's. The cell also tries the wrong sign: the mass is then $E_{q_0}[\lvert\det J\rvert^2]$ instead of 1.

# %%
z1 = in_plane.sample(plane, 500, np.random.default_rng(6))
to_noise = Inverse(Layer(2))
noise, added = to_noise.forward_and_log_det(plane, z1)  # as in nflows and zuko
_, subtracted = Layer(2).forward_and_log_det(plane, noise)  # as in the paper
log_q0, log_q = in_plane.base.log_prob(noise), in_plane.log_prob(plane, z1)
np.testing.assert_allclose(log_q0 + added, log_q, atol=1e-12)
np.testing.assert_allclose(log_q0 - subtracted, log_q, atol=1e-12)


def wrong_sign(z1):
    noise, log_det = on_line.bijection.inverse_and_log_det(line, z1)
    return base.log_prob(noise) - log_det


mass = checks.total_mass(wrong_sign, (-12.0, 12.0), 20_000, 1)
z0, cell = checks.grid((-10.0, 10.0), 20_000, 1)
squared = np.sum(np.exp(base.log_prob(z0) + 2 * planar_layer(**line, z=z0)[1])) * cell
assert abs(mass - squared) < 1e-4 and mass > 2
print(f"the two conventions agree; with the wrong sign the mass is {mass:.2f}")

# %% [markdown]
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), *Variational inference with normalizing flows*, ICML, arXiv:1505.05770: the change of variables is eq. (5), averages without determinants eq. (8), the planar map and its determinant eqs (10)-(12), the radial map eq. (14), invertibility appendix A.
# - G. Papamakarios, E. Nalisnick, D. J. Rezende, S. Mohamed and B. Lakshminarayanan (2021), *Normalizing flows for probabilistic modeling and inference*, JMLR 22: section 2.1 gives both forms, eqs (2) and (3), and section 3 how the need for cheap determinants shapes the architectures.
# - E. G. Tabak and C. V. Turner (2013), *A family of nonparametric density estimation algorithms*, Communications on Pure and Applied Mathematics 66: where composed simple maps with tractable Jacobians come from.
# - R. van den Berg, L. Hasenclever, J. M. Tomczak and M. Welling (2018), *Sylvester normalizing flows for variational inference*, UAI: layers that push along M directions at once, whose determinant is cheap because $\det(I_D + UV^\top) = \det(I_M + V^\top U)$; eq. (12) is the case M = 1.
# - D. A. Harville (1997), *Matrix Algebra from a Statistician's Perspective*, Springer: chapter 18 proves the determinant of a matrix plus a low-rank one, of which the lemma behind eq. (12) is the simplest case.
