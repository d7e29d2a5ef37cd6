# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   post:
#     categories:
#     - flows
#     date: '2026-11-22'
#     description: Planar layers become a current, log-determinants the integral of
#       a trace, and the way back an adjoint equation
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: What happens when the flow gets infinitely long?
# ---

# %% [markdown]
# # What happens when the flow gets infinitely long?
#
# It becomes a current. Cut every layer into ever smaller steps, and the stack turns into a differential equation, the sum of log-determinants into the integral of a trace, and the way of the gradients back through the layers into an equation that runs backwards in time. These are the infinitesimal flows of [Variational inference with normalizing flows](https://arxiv.org/abs/1505.05770) (Rezende and Mohamed, 2015), section 3.2.
#
# A round patch of pollen floats on stirred water. The current says, for every place and moment, how fast a grain moves there; each grain follows it along a path; and the patch is pinched and wound up. How dense is the pollen now, at a given place? And can we stir in such a way that the patch ends as two crescents, a posterior that no Gaussian could follow?

# %% tags=["setup", "hide-input"]
import autograd.numpy as anp  # NumPy that autograd can differentiate
import numpy as np
from autograd import elementwise_grad, grad
from scipy.integrate import solve_ivp

from nflib_min import StandardNormal, checks, continuous, diffusions, targets
from nflib_min.planar import planar_layer
from notebooks.exercises import infinitesimal_flows as exercises
from notebooks.figures import infinitesimal_flows as figures


# %% tags=["hide-input"] alt="Four panels of the plane: arrows toward a dashed line, all along one direction; curved paths from blue dots to green squares; a round blue patch with a circle; the green patch, the circle pinched in the middle and turned." caption="A current: its velocity at $t = 0$ (dashed: the hyperplane, where it is 0), the paths of some grains from $t = 0$ (blue) to $t = 1$ (green), and a patch of pollen with a circle drawn around it, before and after."
def layer(t):  # u, w and b at time t
    u = 3.0 * np.array([np.cos(np.pi * t + 2), np.sin(np.pi * t + 2)])
    w = 1.5 * np.array([np.cos(np.pi * t), np.sin(np.pi * t)])
    return u, w, 0.0


def velocity(z, t):  # f(z, t), (N2)
    u, w, b = layer(t)
    return anp.tanh(z @ w + b)[:, None] * u


figures.current(layer, velocity)


# %% [markdown]
# You will be able to
#
# 1. turn a stack of layers into a differential equation, and find its density in two ways: at a fixed place, and along a path;
# 2. read Langevin, Fokker-Planck and Hamiltonian dynamics as flows, say where they come to rest and how soon, and which of them have a density that a bound can use;
# 3. train a flow of infinite length, cut it into planar layers again, and derive the gradient of its parameters.
#
# You need: the change of variables of [notebook 02](02_change_of_variables.ipynb), the planar layer of [notebook 03](03_flow_composition.ipynb), and the idea of a differential equation $\dot z = f(z, t)$. Time: 45 minutes, exercises included.
#
# Previous: [How does a simple density become any density?](03_flow_composition.ipynb) Next: [Can one network know the posterior of every image?](05_amortized_inference.ipynb)
#
# Direction: forward runs with time, from $z(0) = z_0$, drawn from a Gaussian $q_0$, to $z(1)$. A stack counts its layers, $k = 1, \dots, K$; here time is measured, and layer $k$ ends at $t = k/K$. So an index $k$ counts layers. The two coordinates of a point, $z_1$ and $z_2$, appear on the axes of figures and in sums over $i$.
#
# | symbol | meaning | shape for n points |
# |---|---|---|
# | $z_k$; $z(t)$ | a point after $k$ of $K$ layers; at time $t$ | $(n, d)$ |
# | $q_t$ | the density of all points at time $t$ | $(n,)$ |
# | $f(z, t)$ | velocity | $(n, d)$ |
# | $\operatorname{tr} \frac{\partial f}{\partial z} = \nabla \cdot f$ | the trace of its Jacobian, which is its divergence | $(n,)$ |
# | $J$ | current of probability: density times velocity | $(n, d)$ |
# | $u(t), w(t), b(t)$; $h = \tanh$ | a planar layer whose parameters depend on time | $(d,), (d,), ()$ |
# | $L(z)$ | an energy: minus a log density, up to a constant | $(n,)$ |
# | $\omega$ | momentum, the second half of a Hamiltonian flow | $(n, d)$ |
# | $g(t)$, $\ell$ | $\partial \mathcal F / \partial z(t)$ and $\partial \mathcal F / \partial \ln\lvert\det\rvert$ of a loss $\mathcal F$ | $(n, d)$, $(n,)$ |
#
# ## Do ever shorter planar steps lead anywhere?
#
# Take the planar layer [(10)](02_change_of_variables.ipynb#eq-10), deliver its push $u$ in $K$ portions of $u/K$ each, and let $u$ and $w$ turn a little from one portion to the next:
#
# <a id="eq-N1"></a>
#
# $$
# z_k = z_{k-1} + \tfrac1K\, u(t)\, h\big(w(t)^\top z_{k-1} + b(t)\big), \qquad t = \tfrac{k-1}{K} \tag{N1}
# $$
#
# - $u(t), w(t), b(t)$: smooth curves of parameters, so that neighboring layers are alike;
# - $\tfrac1K$: the time that one layer takes.
#
# Subtract $z_{k-1}$ and divide by $\tfrac1K$, and the left side is a difference quotient. What remains as $K \to \infty$ is an ordinary differential equation (ODE):
#
# <a id="eq-N2"></a>
#
# $$
# \frac{dz}{dt} = f(z, t) = u(t)\, h\big(w(t)^\top z + b(t)\big) \tag{N2}
# $$
#
# - $f$: the current of the first figure. There $u$ is 3 long, $w$ is 1.5 long, both make half a turn, and $u$ is always 2 radians ahead of $w$.
#
# Read from [(N2)](#eq-N2) to [(N1)](#eq-N1), this is Euler's method, the oldest way to solve an ODE: go straight for a short time, then look again. As a reference we take an adaptive solver (`DOP853` in SciPy), asked for eleven digits.
#
# > **Predict.** Twice as many layers, each half as long: by which factor does the distance to the limit shrink? By 2, by 4, or by 16? And in the next figure the first grid is folded: how many portions does it take until nothing folds?

# %% alt="A square grid after 1, 2, 4 and 32 planar steps. The first is folded along a strip, which is shaded; the others are not, and come closer and closer to one swirl." caption="One push in $K$ portions. A single layer turns a strip over (shaded: where its determinant is negative); from two portions on nothing folds, and the grids have a limit."
def planar_steps(z, K):  # (N1), and the sum of the log-determinants
    log_det = 0.0
    for k in range(K):
        u, w, b = layer(k / K)
        z, ln_det = planar_layer(u / K, w, b, z)
        log_det = log_det + ln_det
    return z, log_det


def path(z, start, end, velocity):  # (N2) from start to end
    def rate(t, flat):
        return velocity(flat.reshape(z.shape), t).ravel()

    digits = {"rtol": 1e-11, "atol": 1e-11}
    solved = solve_ivp(rate, (start, end), z.ravel(), "DOP853", **digits)
    return solved.y[:, -1].reshape(z.shape)


figures.portions(planar_steps, layer)


# %%
def slope(K, error):  # the p in error ~ K^p
    return np.polyfit(np.log(K), np.log(error), 1)[0]


Ks = 2 ** np.arange(4, 10)
z0 = StandardNormal(2).sample(200, np.random.default_rng(0))
z1 = path(z0, 0.0, 1.0, velocity)
stacks = [planar_steps(z0, K) for K in Ks]
error = [abs(z - z1).max() for z, _ in stacks]
print(f"slope of ln(error) against ln(K): {slope(Ks, error):.1f}")
assert abs(slope(Ks, error) + 1) < 0.05
assert abs(path(z1, 1.0, 0.0, velocity) - z0).max() < 1e-8
dz = 1e-5 * np.eye(2)
for K in (1, 2, 4, 32):  # the determinant of all K layers, by differences
    x, y = (planar_steps(z0 + e, K)[0] - planar_steps(z0 - e, K)[0] for e in dz)
    det = x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]
    assert (det.min() < 0) == (K < -4.5 * np.cos(2)) == (K == 1)

# %% [markdown]
# By 2: the slope is $-1$. Each step misses the bend of the path, an error of order $1/K^2$, and $K$ of them add up to order $1/K$.
#
# And two portions are enough. A planar layer is invertible where its smallest determinant, $1 + w^\top u$, is positive, and [notebook 03](03_flow_composition.ipynb) bends $u$ to make sure of it. Here $w^\top u = 4.5 \cos 2 \approx -1.87$ at all times, which is forbidden; but a portion has $-1.87 / K$. The limit needs no such care. Through every point passes one path only, because $f$ is smooth, so two paths never meet, and the clock can be turned back: the last lines return to $z_0$ within $10^{-8}$.
#
# **A stack of $K$ planar layers of size $1/K$ is Euler's method for an ODE: if $u(t), w(t), b(t)$ are smooth, its distance to the solution is proportional to $1/K$. The solution never folds; the stack does not once $K > -w^\top u$ at all times, which a training that leaves $u$ free has to watch.**
#
# ## How does the density change?
#
# **At a fixed place.** On a line, count the pollen between two walls at $\alpha$ and $\beta$. No grain is made or lost, so its amount changes only by what comes in at $\alpha$ and what goes out at $\beta$. Through a wall, per unit of time, goes the current $J = q_t f$, density times speed:
#
# $$
# \frac{d}{dt} \int_\alpha^\beta q_t\, dz = J(\alpha) - J(\beta) \quad\Longrightarrow\quad \frac{\partial q_t}{\partial t} = -\frac{\partial J}{\partial z},
# $$
#
# the second by dividing by $\beta - \alpha$ and letting the walls approach each other. A small box in $d$ dimensions has $d$ pairs of walls, and each pair contributes its difference:
#
# <a id="eq-N3"></a>
#
# $$
# \frac{\partial q_t}{\partial t} = -\nabla \cdot J = -\sum_i \frac{\partial}{\partial z_i} \big[f_i\, q_t\big] \tag{N3}
# $$
#
# - $J = q_t f$: the current of probability; $\nabla \cdot J$: what leaves a small box, less what enters it, per unit of volume.
#
# This is the *continuity equation*. The paper writes an infinitesimal flow as $\partial q_t / \partial t = \mathcal T_t[q_t]$, with any rule $\mathcal T_t$ that turns a density into its rate of change; [(N3)](#eq-N3) is that rule for a velocity.
#
# **Along a path.** Now ride on a grain. What it sees changes because time passes *and* because it moves:
#
# $$
# \begin{aligned}
# \frac{d}{dt} q_t(z(t)) &= \frac{\partial q_t}{\partial t} + f \cdot \nabla q_t \\
# &= -\nabla \cdot (q_t f) + f \cdot \nabla q_t = -q_t\, \nabla \cdot f
# \end{aligned}
# $$
#
# by the product rule, $\nabla \cdot (q f) = f \cdot \nabla q + q\, \nabla \cdot f$. Divide by $q_t$:
#
# <a id="eq-N4"></a>
#
# $$
# \frac{d}{dt} \ln q_t(z(t)) = -\operatorname{tr} \frac{\partial f}{\partial z}(z(t), t) \tag{N4}
# $$
#
# - where the velocity diverges (trace above 0), the pollen around the grain thins out.
#
# The two are one law, seen from the bank and from a boat. [(N4)](#eq-N4) is known as the instantaneous change of variables (Chen et al., 2018).
#
# **In the stack** the same law follows from determinants. One layer of [(N1)](#eq-N1) has $\det = 1 + \tfrac1K u^\top \psi$ with $\psi = h'(w^\top z + b)\, w$, [(11)](02_change_of_variables.ipynb#eq-11) and [(12)](02_change_of_variables.ipynb#eq-12) of notebook 02. Since $\ln(1 + \tfrac{x}{K}) = \tfrac{x}{K} + O(K^{-2})$, the sum over layers is, up to order $1/K$, a Riemann sum:
#
# <a id="eq-N5"></a>
#
# $$
# \begin{aligned}
# \sum_{k=1}^K \ln\Big\lvert 1 + \tfrac1K u^\top \psi(z_{k-1}) \Big\rvert \;\longrightarrow\;& \int_0^1 u^\top \psi(z(t))\, dt \\
# =\;& \int_0^1 \operatorname{tr} \frac{\partial f}{\partial z}(z(t), t)\, dt
# \end{aligned} \tag{N5}
# $$
#
# - $\frac{\partial f}{\partial z} = u\, \psi^\top$: the Jacobian of the velocity [(N2)](#eq-N2), a matrix of rank one, with trace $u^\top \psi$.
#
# The first cell below checks [(N3)](#eq-N3) and [(N4)](#eq-N4) on a line. For the swirl of the first figure, let each grain carry a third number that starts at 0 and adds up the trace. Then three checks: the trace against automatic differentiation, the sum of log-determinants against the integral, and the total mass.
#
# > **Predict.** On the line, $f(z) = z/2$ pulls everything away from 0, and $q_0$ is standard normal. Look through a window from 1 to 1.6. Does the pollen in it become more or less? And around a grain that starts at 1, denser or thinner?

# %% alt="A bell curve and a window, twice. Between fixed walls (left), with a longer arrow in than out, the area grows; between walls that move along (right), the window gets wider, the curve lower, and the area stays." caption="One law seen twice. Left, (N3): between fixed walls the mass changes by what comes in (long arrow) less what goes out (short one). Right, (N4): walls that move along always hold the same mass, on a wider stretch."
from scipy.stats import norm


def pollen(walls, t):  # grains move to z e^(t/2), so q_t = N(0, e^t)
    return np.diff(norm.cdf(walls, scale=np.exp(t / 2)))[0]


walls, dt = np.array([1.0, 1.6]), 1e-4
J = walls / 2 * norm.pdf(walls)
change = (pollen(walls, dt) - pollen(walls, -dt)) / (2 * dt)
assert abs(change - (J[0] - J[1])) < 1e-8 and change > 0
moved = walls * np.exp(1 / 2)  # walls that go along, from t = 0 to 1
assert abs(pollen(moved, 1.0) - pollen(walls, 0.0)) < 1e-12
print(f"in {J[0]:.3f}, out {J[1]:.3f}, change {change:.3f} per unit of time")
figures.flux(1.0, 1.6)


# %%
def with_trace(state, t):  # the velocity of (z, the integral of u.psi)
    z, (u, w, b) = state[:, :2], layer(t)
    trace = (1 - np.tanh(z @ w + b) ** 2) * (w @ u)
    return np.column_stack([velocity(z, t), trace])


def log_q1(z):  # (N4), run back from 1 to 0
    end = path(np.column_stack([z, np.zeros(len(z))]), 1.0, 0.0, with_trace)
    return StandardNormal(2).log_prob(end[:, :2]) + end[:, 2]


# %%
def slope_of(i):  # d f_i / d z_i, by one pass back through f
    return elementwise_grad(lambda z: velocity(z, 0.3)[:, i])(z0)[:, i]


start = np.column_stack([z0, np.zeros(200)])
assert np.allclose(slope_of(0) + slope_of(1), with_trace(start, 0.3)[:, 2])
integral = path(start, 0.0, 1.0, with_trace)[:, 2]
error = [abs(log_det - integral).max() for _, log_det in stacks]
assert abs(slope(Ks, error) + 1) < 0.05
assert abs(checks.total_mass(log_q1, (-5.0, 5.0), 160) - 1) < 1e-3


# %% [markdown]
# More, and thinner. More comes in from the crowded side than goes out; but a grain is carried to where the curve is lower, and $\ln q$ around it falls at the rate $\tfrac12$, the trace. In the swirl, the log-determinants of the stacks approach the integral at the rate of the points, $1/K$.
#
# What does the trace cost? In `slope_of` each coordinate takes one pass back through $f$, so for a general velocity in $d$ dimensions the trace costs $d$ passes: less than a determinant, but not free. Here it is one inner product, and for the reason that made the determinant of [(12)](02_change_of_variables.ipynb#eq-12) cheap: the Jacobian has rank one. For velocities that are neural networks, FFJORD (Grathwohl et al., 2019) replaces the trace by a random estimate from a single pass: if the entries of $\eta$ are independent signs, $\mathbb{E}[\eta^\top A \eta] = \operatorname{tr} A$.
#
# **Density that is moved by a smooth velocity changes by flux in minus flux out; along a path $\ln q_t$ falls by the time integral of the trace. The log-determinants of a planar stack converge to that integral at the rate $1/K$. The trace is cheap where the Jacobian has structure; in general it takes $d$ passes.**
#
# ## Can noise carry a density too?
#
# Pollen spreads on still water as well, since its grains jitter. The first example of the paper's section 3.2 is a flow with noise, the Langevin stochastic differential equation (SDE):
#
# <a id="eq-9"></a>
#
# $$
# dz = F(z, t)\, dt + G(z, t)\, d\xi \tag{9}
# $$
#
# - $F$: the drift, a velocity; $G$: the scale of the noise. These are the paper's letters, for this equation and the next;
# - $d\xi$: Gaussian noise of variance $dt$, new at every instant.
#
# Its density still obeys a law without any noise. Take still water on a line, $F = 0$ and $G = \sqrt2$, and let every grain jump by $+s$ or $-s$ with equal chance, $s^2 = 2\, dt$. A grain that is at $z$ afterwards was at $z - s$ or at $z + s$ before:
#
# $$
# \begin{aligned}
# q_{t + dt}(z) = \tfrac12\, [q_t(z - s) + q_t(z + s)] &= q_t(z) + \tfrac{s^2}{2}\, q_t''(z) + \dots \\
# \Longrightarrow\quad \frac{\partial q_t}{\partial t} &= q_t''
# \end{aligned}
# $$
#
# This is the continuity equation once more, with a current $J = -q_t'$: noise drives mass from where there is more to where there is less. With a drift as well, and any $G$, it is the Fokker-Planck equation:
#
# <a id="eq-N6"></a>
#
# $$
# \frac{\partial q_t}{\partial t} = -\sum_i \frac{\partial}{\partial z_i} \big[F_i\, q_t\big] + \frac12 \sum_{i,j} \frac{\partial^2}{\partial z_i \partial z_j} \big[(G G^\top)_{ij}\, q_t\big] \tag{N6}
# $$
#
# - the first sum moves mass along the drift, the second spreads it.
#
# From here on $F = -\nabla L$ for an energy $L$, and $G = \sqrt 2\, I$, so that $J = -q_t \nabla L - \nabla q_t$. If $L = \tfrac12 \lvert z \rvert^2$, the drift pulls to the origin in proportion to the distance. This is the Ornstein-Uhlenbeck process, the simplest of the linear ones, for which Gaussians stay Gaussian:
#
# <a id="eq-N7"></a>
#
# $$
# q_t = N\big(e^{-t} m_0,\; \sigma_t^2 I\big), \qquad \sigma_t^2 = 1 + (\sigma_0^2 - 1)\, e^{-2t} \tag{N7}
# $$
#
# - $m_0, \sigma_0$: mean and standard deviation at the start. (Put it into [(N6)](#eq-N6); or see that the mean obeys $\dot m = -m$, and the variance $\frac{d}{dt} \sigma_t^2 = 2 - 2 \sigma_t^2$.)
#
# > **Predict.** Start narrow and off center, $m_0 = (2, 0)$ and $\sigma_0 = 0.5$. Which is forgotten first, the place or the width?
#
# Three routes to the same densities ([diffusions.py](../nflib_min/diffusions.py)): the formula; 20,000 grains moved by `langevin`, Euler's method with noise, $z \leftarrow z - \nabla L\, dt + \sqrt{2\, dt}\, \xi$ with $\xi \sim N(0, I)$, known as Euler-Maruyama; and a grid on which `fokker_planck` passes probability from cell to cell by [(N6)](#eq-N6), without a random number anywhere.
#
# **Can this flow be our $q$?** The bound [(3)](01_elbo.ipynb#eq-3) wants $\ln q_t$ at the draws, and a grain does not know it. There is no determinant to add up: many noises lead from many starts to the same $z(t)$, and $q_t(z)$ is an average over all of them. After one step of the process in one dimension, from $q_0 = N(0, 1)$, it is $\mathbb{E}_{z_0}[N(z;\, z_0 - z_0\, dt,\, 2\, dt)]$; the last cell of this section estimates that from 10 draws of $z_0$, and from 1000.
#
# > **Predict.** Will the logarithm of such an estimate be right on average, too low, or too high? And the bound?

# %%
def exact(t):  # (N7): the mean of z_1, and the variance
    return 2 * np.exp(-t), 1 + (0.5**2 - 1) * np.exp(-2 * t)


def gaussian(z, mean, variance):  # the density of N((mean, 0), variance I)
    return norm.pdf(z, [mean, 0.0], variance**0.5).prod(axis=1)


grid, cell = checks.grid((-5.0, 5.0), 100)
bowl = diffusions.fokker_planck_rates(lambda z: np.sum(z**2 / 2, 1), grid, cell)
rng, q0 = np.random.default_rng(0), gaussian(grid, *exact(0.0))
start = np.array([2.0, 0.0]) + 0.5 * rng.standard_normal((20_000, 2))

# %% alt="Four panels, times 0, 0.25, 1 and 3, each with a bell curve of the first coordinate: narrow at 2, then wider and drifting to 0. In each the histogram, the dots and the line coincide." caption="Three routes to one density: closed form (line), Fokker-Planck on a grid (dots), grains moved with noise (shaded). At $t = 1$ the width has nearly settled, and the place is still on its way."
by_grid, by_grains = {0.0: q0}, {0.0: start}
for t in (0.25, 1.0, 3.0):
    by_grid[t] = diffusions.fokker_planck(q0, bowl, 0.002, round(t / 0.002))
    z = diffusions.langevin(lambda z: z, start, 0.005, round(t / 0.005), rng)
    by_grains[t] = z
    mean, variance = exact(t)
    misplaced = 0.5 * abs(by_grid[t] - gaussian(grid, mean, variance)).sum()
    assert misplaced * cell < 1e-3 and abs(by_grid[t].sum() * cell - 1) < 1e-9
    assert abs(z[:, 0].mean() - mean) < 0.03
    assert abs(z[:, 0].var() / variance - 1) < 0.04
figures.three_routes(by_grid, by_grains, exact)

# %%
dt, draws = 0.1, rng.standard_normal((2000, 1000))
z = (1 - dt) * draws[:, 0] + np.sqrt(2 * dt) * rng.standard_normal(2000)
ln_q = norm.logpdf(z, scale=np.sqrt((1 - dt) ** 2 + 2 * dt))
others = rng.standard_normal((2000, 1000))  # z_0 that know nothing of z
weights = norm.pdf(z[:, None], (1 - dt) * others, np.sqrt(2 * dt))
bias = [np.mean(np.log(weights[:, :m].mean(axis=1)) - ln_q) for m in (10, 1000)]
assert bias[0] < -0.1 and -0.02 < bias[1] < 0
print(f"an average of 10: {bias[0]:.2f} nats, of 1000: {bias[1]:.3f} nats")

# %% [markdown]
# The width: it forgets at the rate $e^{-2t}$, the place at $e^{-t}$. At $t = 1$ the mean has kept $e^{-1} \approx 37\%$ of its distance from where it comes to rest, the variance $e^{-2} \approx 14\%$. The grid has put less than 0.1% of the mass in the wrong place. The grains have two errors, that of sampling and that of the step, and the second does not average out: with a step of 0.005 grains come to rest at a variance of 1.0025, and longer steps are worse (exercise 3).
#
# And the estimate of $\ln q_t$ is too low on average, by Jensen's inequality, so that $\mathbb{E}[\ln p - \ln \hat q_t]$ is too *high*: no bound at all. With 1000 draws it is nearly right here, in one dimension and after one step; the price grows as in [notebook 01](01_elbo.ipynb). Salimans, Kingma and Welling (2015) pay for noisy flows with a second bound: an auxiliary network guesses the way back. For deterministic flows [(N4)](#eq-N4) is exact, and that is what the rest of the paper uses.
#
# **A flow may be random path by path, and its density still obeys an exact law, the continuity equation with a current that noise adds to. But with noise $\ln q_t$ is not known along a path, and an estimate of it from a few draws, put into the bound, makes it too high on average.**
#
# ## Where does the noise come to rest, and how soon?
#
# Ask for a density whose current vanishes everywhere:
#
# <a id="eq-N8"></a>
#
# $$
# J = -q_\infty \nabla L - \nabla q_\infty = 0 \quad\Longleftrightarrow\quad q_\infty(z) = \tfrac1Z e^{-L(z)} \tag{N8}
# $$
#
# - $Z = \int e^{-L}\, dz$: has to be finite, but the current does not need to know it.
#
# The distance to it can only fall. Write $r = \ln(q_t / q_\infty)$; then $J = -q_t \nabla r$, and by [(N3)](#eq-N3) and integration by parts, with nothing flowing in from infinity,
#
# $$
# \begin{aligned}
# \frac{d}{dt} \mathrm{KL}(q_t \,\Vert\, q_\infty) &= \int \frac{\partial q_t}{\partial t}\, r\, dz = \int J \cdot \nabla r\, dz \\
# &= -\int q_t\, \lvert \nabla r \rvert^2\, dz \;\le\; 0.
# \end{aligned}
# $$
#
# So here is a flow that needs no training and no normalizer and ends at any target. What is the catch?
#
# **An erratum.** The paper introduces $L$ as an unnormalized log density. With the drift $-\nabla L$ and the stationary density $e^{-L}$ that it gives right after, $L$ has to be an *energy*, minus a log density; then everything fits. The sign is the first thing to test in code.
#
# > **Predict.** Put grains exactly where they should end, on 2,000 draws from $e^{-U_1}/Z$, the two crescents, and let them run for one unit of time: once with the drift $-\nabla U_1$, once with $+\nabla U_1$. How far from the origin are they afterwards? And if all of them start in the *right* crescent, how many nats are left after one unit of time, and after eight?
#
# The grid answers the second question, from two starts: a standard normal in the middle, and the right crescent. Its rates are chosen such that the flows between neighboring cells cancel exactly at $e^{-U_1}$, so that it comes to rest at the right density and not merely near it.

# %%
target, rng = targets.table_1("U1"), np.random.default_rng(1)
draws = target.sample(2000, rng)
grad_U1 = elementwise_grad(targets.U1)  # for every row: rows do not mix
still = diffusions.langevin(grad_U1, draws, 0.005, 200, rng)
away = diffusions.langevin(lambda z: -grad_U1(z), draws, 0.005, 200, rng)
was, still, away = np.linalg.norm([draws, still, away], axis=2).mean(axis=1)
assert abs(still - was) < 0.05 and away > 100
print(f"mean radius {was:.2f}, then {still:.2f}; with the other sign over 100")

# %%
from scipy.special import rel_entr  # q ln(q / p), and 0 where q = 0

rates = diffusions.fokker_planck_rates(targets.U1, grid, cell)
p = np.exp(target.log_prob(grid))
right = p * (grid[:, 0] > 0)
times = np.array([0.0, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
films = {"middle": [gaussian(grid, 0.0, 1.0)]}
films["right"] = [right / right.sum() / cell]
for film in films.values():
    for steps in (np.diff(times) / 0.00125).round().astype(int):
        film.append(diffusions.fokker_planck(film[-1], rates, 0.00125, steps))
KL = {key: rel_entr(film, p).sum(1) * cell for key, film in films.items()}
shown = ", ".join(f"{nats:.3f}" for nats in KL["right"][[0, 3, 6, 8]])
print(f"from the right at t = 0, 1, 8, 32: {shown} nats")

# %% alt="Two rows of density maps, and KL against time. From the middle both crescents are there at time 1 and KL is near 0; from the right crescent the left one is faint at time 8, still weaker at 32, and KL stays near ln 2 for long." caption="The Langevin flow from the middle (above) and from one crescent (below), by Fokker-Planck on a grid. Right: what is left of the KL divergence, and the law of two states, (N9)."
left = np.array(films["right"])[4:, grid[:, 0] < 0].sum(axis=1) * cell
rate = -np.log(1 - 2 * left) / times[4:]
assert np.allclose(rate, 0.015, atol=5e-4)
entropy = -left * np.log(left) - (1 - left) * np.log(1 - left)
assert abs(KL["right"][4:] - (np.log(2) - entropy)).max() < 0.005
assert all(np.diff(nats).max() < 1e-9 for nats in KL.values())
assert KL["middle"][3] < 0.01 and abs(KL["right"][6] - 0.48) < 0.005
figures.two_starts(times, films, KL, rate[-1])


# %% [markdown]
# With the right sign nothing happens to the exact draws, up to sampling noise and the length of a step; that is what stationary means. With the other one the grains run away. From the middle the KL divergence is below 0.01 nats at $t = 1$. From one crescent it starts at $\ln 2 = 0.69$, the price of a lost mode in [notebook 01](01_elbo.ipynb), is at 0.65 when $t = 1$ and still at 0.48 when $t = 8$. Within a crescent the pollen settles at once; across the gap, where $e^{-U_1}$ is tiny, it only seeps. Two states with a rate of exchange describe it: the left crescent has the share
#
# <a id="eq-N9"></a>
#
# $$
# \begin{aligned}
# \pi(t) &\approx \tfrac12 \big(1 - e^{-\kappa t}\big), \\
# \mathrm{KL} &\approx \ln 2 + \pi \ln \pi + (1 - \pi) \ln(1 - \pi)
# \end{aligned} \tag{N9}
# $$
#
# - $\kappa$: the rate of forgetting, 0.015 for $U_1$; the asserts hold the grid to both formulas from $t = 2$ on.
#
# By this law the KL divergence from one crescent falls below 0.01 nats near $t = 130$. And $U_1$ is harmless: for high barriers the time grows like $e$ to the height of the barrier (Kramers' law), tenfold for every 2.3 units of energy.
#
# **With $L$ an energy and $Z$ finite, the Langevin flow rests at $e^{-L}/Z$, and its KL divergence falls all the way there. How soon depends on the start. Mass that is in the right mode settles quickly; mass that has to cross a gap of low density does not, and until it has, up to $\ln 2$ nats are missing if there are two equal modes.**
#
# ## Can a flow move without changing any volume?
#
# The paper's second example moves $z$ together with a momentum $\omega$ of the same size. With the sign of the erratum repaired (the paper prints both terms with a minus; its mass matrix is $I$ here), the energy and the equations of motion are
#
# <a id="eq-N10"></a>
#
# $$
# H(z, \omega) = L(z) + \tfrac12 \lvert\omega\rvert^2, \qquad \frac{dz}{dt} = \omega, \qquad \frac{d\omega}{dt} = -\nabla L(z) \tag{N10}
# $$
#
# - $\dot z$ does not depend on $z$, nor $\dot\omega$ on $\omega$: the diagonal blocks of the Jacobian are 0, and so is its trace.
#
# By [(N4)](#eq-N4) the density does not change along a path: the flow carries volume like water, which cannot be compressed. But a computer takes steps, and not every kind of step keeps volume. `Leapfrog` ([continuous.py](../nflib_min/continuous.py)) moves half of the coordinates at a time by a function of the *other* half, like an additive coupling layer (NICE): every half step is a shear, whose determinant is 1. Euler's method moves both halves by the *old* values.
#
# > **Predict.** For $L = \tfrac12 \lvert z \rvert^2$ in two dimensions, one Euler step of size $\epsilon$ has the Jacobian $\begin{pmatrix} I & \epsilon I \\ -\epsilon I & I \end{pmatrix}$. What is its determinant, and by which factor has a volume grown after 40 steps of $\epsilon = 0.05$? And does leapfrog, which keeps the volume, keep $H$ as well?

# %%
class EulerHamiltonian(continuous.Leapfrog):
    def forward(self, params, state):  # both halves by the old values
        for _ in range(self.steps):
            z, omega = state[:, :2], state[:, 2:]
            moves = [omega, -self.grad_energy(z)]
            state = state + self.step_size * anp.concatenate(moves, axis=1)
        return state


def volume(kind, grad_L, e, steps):  # ln|det|, by autodiff
    return checks.log_det_by_autodiff(kind(grad_L, 2, e, steps), {}, state)


state = np.column_stack([draws[:20], rng.standard_normal((20, 2))])
euler = volume(EulerHamiltonian, lambda z: z, 0.05, 40)
assert np.allclose(euler, 40 * 2 * np.log1p(0.05**2))
for epsilon in (0.05, 0.5, 2.5):  # in the bowl leapfrog is unstable beyond 2
    of_steps = volume(continuous.Leapfrog, lambda z: z, epsilon, 4)
    assert abs(of_steps).max() < 1e-8
print(f"Euler in a bowl: {np.exp(euler.mean()):.2f} times the volume")


# %% alt="Two panels of a small disc carried along in position and momentum: by leapfrog it is bent but keeps its area, by Euler it grows. Right, energy against time: leapfrog wobbles around 0, Euler climbs." caption="A disc in the plane of position and momentum, carried by leapfrog and by Euler steps of 0.1 in a double well, $L = z^4/4 - z^2/2$ (numbers: its area, in units of the first). Right: the error in $H$ on the crescents, some single paths (gray) and the mean (green)."
def energies(kind, epsilon):  # H - H(0) after every step, until t = 4
    step, track = kind(grad_U1, 2, epsilon, 1), [state]
    for _ in range(round(4 / epsilon)):
        track.append(step.forward({}, track[-1]))
    z, omega = np.split(np.concatenate(track), 2, axis=1)
    H = targets.U1(z) + 0.5 * np.sum(omega**2, axis=1)
    return H.reshape(len(track), -1) - H[: len(state)]


Leapfrog = continuous.Leapfrog
for epsilon in (0.01, 0.05, 0.2):
    assert abs(volume(Leapfrog, grad_U1, epsilon, 20)).max() < 1e-10
assert volume(EulerHamiltonian, grad_U1, 0.05, 40).mean() > 0.5
leapfrog, half = (energies(Leapfrog, epsilon) for epsilon in (0.05, 0.025))
assert 3 < abs(leapfrog).max() / abs(half).max() < 5
euler = energies(EulerHamiltonian, 0.05)
assert abs(leapfrog).max() < 0.2 and euler[-1].mean() > 1
figures.volumes({"leapfrog": leapfrog, "Euler": euler})

# %% [markdown]
# The determinant of an Euler step is $(1 + \epsilon^2)^2$, hardly above 1, but never below, and 40 of them multiply a volume by $e^{0.20} = 1.22$. On the crescents the second derivatives of $U_1$ take the place of the 1, and it goes faster. Leapfrog's volume is right to rounding at every step size, even at $\epsilon = 2.5$, where its paths in the bowl fly apart: a product of shears has determinant 1 wherever it leads. Its energy is another matter. $H$ wobbles by an amount of order $\epsilon^2$ (a quarter for half the step), as long as the steps are short enough to be stable.
#
# What is exact is the one quantity that a density needs, and so leapfrog is the motor of Hamiltonian Monte Carlo and of Hamiltonian variational inference, with which the paper compares itself. Note what it gives: the density of $(z, \omega)$ together. The density of $z$ alone would be an integral over $\omega$, and again an auxiliary bound has to help.
#
# **A flow whose velocity has trace 0 keeps all volumes; whether its steps do depends on the solver. Leapfrog keeps volume to rounding at any step size, and the energy up to order $\epsilon^2$ if the steps are short enough to be stable. Euler's method keeps neither.**
#
# ## Which solver can stand in for the limit?
#
# Euler's method needs ten times the layers for one more digit. The classical Runge-Kutta scheme (RK4) asks for the velocity four times a step and wins four digits for the same tenfold. `ODEFlow` ([continuous.py](../nflib_min/continuous.py)) uses it on a velocity that is a sum of $M$ planar ones:
#
# <a id="eq-N11"></a>
#
# $$
# \begin{aligned}
# f(z, t) &= \sum_{m=1}^M u_m \tanh\big(w_m^\top z + b_m + a_m t\big), \\
# \operatorname{tr} \frac{\partial f}{\partial z} &= \sum_{m=1}^M w_m^\top u_m \tanh'\big(w_m^\top z + b_m + a_m t\big)
# \end{aligned} \tag{N11}
# $$
#
# - $u_m, w_m$: vectors; $a_m, b_m$: numbers; $a_m t$ lets the velocity change in time.
#
# One thing is different from a stack. A stack's log-determinant is exact for every $K$: each layer has its own. Here both the points and the integral of the trace are approximations, and they need not fit each other: the log-determinant that RK4 reports is not quite that of the map that RK4 performs. The third error below is this mismatch, measured by automatic differentiation.
#
# > **Predict.** What are the slopes of the three errors against the number of steps $K$?

# %%
small, rng = continuous.ODEFlow(2, width=8), np.random.default_rng(0)
theta = small.init(rng) | {"u": rng.standard_normal((8, 2))}  # a lively one
start = StandardNormal(2).sample(50, rng)


def lively(state, t):  # (N11) for z and for the integral of the trace
    return np.column_stack(small.velocity(theta, state[:, :2], t))


end = path(np.column_stack([start, np.zeros(50)]), 0.0, 1.0, lively)
Ks = np.array([8, 16, 32, 64, 128])
rk4 = [continuous.ODEFlow(2, width=8, steps=int(K)) for K in Ks]
errors = []
for f in rk4:
    z, log_det = f.forward_and_log_det(theta, start)
    of_the_map = checks.log_det_by_autodiff(f, theta, start)
    wrong = (z - end[:, :2], log_det - end[:, 2], log_det - of_the_map)
    errors.append([abs(of).max() for of in wrong])
for error in np.transpose(errors):
    assert abs(slope(Ks, error) + 4) < 0.3 and error[0] < 0.01

# %% [markdown]
# All three are $-4$. With eight steps the largest error over 50 points is below 0.01; where that is too much, twice the steps make it sixteen times smaller, without touching a parameter.
#
# **RK4 with a few steps stands in for the limit if the velocity is smooth on the scale of a step: its errors, in the points and in the log-determinant, fall like $K^{-4}$. They replace the exactness that a stack has, and so they have to be checked.**
#
# ## How good is an infinitely long flow?
#
# Back to the question of the first screen: stir so that a round patch ends as the two crescents. Loss and optimizer are those of [notebook 03](03_flow_composition.ipynb), the free energy [(15)](03_flow_composition.ipynb#eq-15) and Adam. Beside the ODE flow stand two planar stacks, with the same 400 updates of 256 draws: $K = 32$ has 160 parameters where the ODE flow has 192, $K = 2$ has 10. An `Affine` map before each of them places and scales the Gaussian. Every training is done from three seeds.
#
# A trained ODE flow can be cut into planar layers again. Over a short time $1/K$ the sum in [(N11)](#eq-N11) pushes by $\tfrac1K \sum_m$; let its $M$ velocities push one after the other instead. Who goes first matters only to second order, $K^{-2}$ in each piece, so the error is again of order $1/K$, and what we have is a stack of $KM$ *planar layers*, with exact log-determinants and no training at all.
#
# > **Predict.** The paper argues in section 3.2 that in the limit a flow can be as good as we like. A fixed number of planar layers cannot (Kong and Chaudhuri, 2020, say how far it gets). Will the ODE flow beat the stack of the same size? And if the trained ODE flow is cut into planar layers again, how many does it take to be as good?

# %%
from nflib_min import Affine, Chain, Flow, Planar, objectives, training


def train(f, seed):
    rng = np.random.default_rng(seed)
    flow = Flow(StandardNormal(2), Chain([Affine(2), f]))
    loss = objectives.FreeEnergy(flow, target, batch=256)
    rate = training.cosine_decay(2e-2, 400)
    run = training.fit(loss, flow.init(rng), 400, rng, learning_rate=rate)
    nats, _ = objectives.kl_to_target(run.params, flow, target, 50_000, rng)
    return nats, run.params


ode = continuous.ODEFlow(2, width=32, steps=4)
maps = {"two planar": Planar(2, 2), "32 planar": Planar(2, 32), "ODE": ode}
runs = {name: [train(f, i) for i in range(3)] for name, f in maps.items()}
for name, of in runs.items():
    nats = np.array([run[0] for run in of])
    print(f"{name:<10}: all three seeds below 0.1 nats: {max(nats) < 0.1}")
    assert min(nats) > 0.2 if name == "two planar" else max(nats) < 0.1

# %%
from functools import partial

affine, params = runs["ODE"][0][1]
z0 = StandardNormal(2).sample(5000, np.random.default_rng(3))
z_start, log_det = Affine(2).forward_and_log_det(affine, z0)
ln_start = StandardNormal(2).log_prob(z0) - log_det  # after the Affine map


def split(z, K):  # K M planar layers, each with a push of u / K
    log_det = 0.0
    for k in range(K):
        units = zip(*(params[key] for key in "uwba"), strict=True)
        for u, w, b, a in units:
            z, ln_det = planar_layer(u / K, w, b + a * k / K, z)
            log_det = log_det + ln_det
    return z, log_det


# %% alt="A cloud of points at times 0, 0.5 and 1 with arrows of the current: it opens in the middle and ends on two crescents. Right, the KL divergence against the number of planar layers, falling to a line, that of the ODE." caption="The trained current (arrows) carries a Gaussian onto the crescents (orange lines). Paths do not cross and the cloud does not tear, so a thread between them remains. Right: the same flow cut into planar layers."
def nats_of(z, log_det):  # KL(q || p) by draws
    return np.mean(ln_start - log_det - target.log_prob(z))


accurate = continuous.ODEFlow(2, width=32, steps=32)
z_ode, log_det = accurate.forward_and_log_det(params, z_start)
limit, pieces = nats_of(z_ode, log_det), 2 ** np.arange(6)
cut = [split(z_start, K) for K in pieces]
gaps = np.array([nats_of(*of) for of in cut]) - limit
away = [abs(z - z_ode).mean() for z, _ in cut]
assert abs(slope(pieces[2:], away[2:]) + 1) < 0.2
assert gaps[0] > 0.05 and abs(gaps[-1]) < 0.01
assert (params["w"] * params["u"]).sum(axis=1).min() / 32 > -1  # none folds
flow = Flow(StandardNormal(2), Chain([Affine(2), accurate]))
log_q = partial(flow.log_prob, [affine, params])  # by the inverse
assert abs(checks.total_mass(log_q, (-5.0, 5.0), 100) - 1) < 1e-3
figures.stirred(ode, params, z_start, target, 32 * pieces, gaps + limit, limit)

# %% [markdown]
# The two are level: all six trainings end within a tenth of a nat, mostly within a few hundredths, where two layers leave more than 0.2 and the best single Gaussian 0.90 ([notebook 01](01_elbo.ipynb)). Which of the six is best depends on the seed, and even on how a processor rounds. And the ODE is the expensive one: with four steps of RK4 a draw passes $4 \cdot 4 \cdot 32 = 512$ units instead of 32. Its inverse costs the same again, and it is the inverse of the ODE, not of the four steps: it returns only up to the solver's error. What it does offer is freedom from the constraint on $u$, and an accuracy that can be chosen *after* training.
#
# Cut into planar layers, one for each velocity, 32 in all, the flow is far too coarse (right panel). With 1,024 it is within 0.01 nats of the ODE, and every one of these layers is invertible as it stands. So the paper's argument has to be read with care. For a fixed $K$, planar layers are limited. But as $K$ grows they come as close as we like to the flow of every ODE whose velocity is a sum of planar ones, and on a bounded region such sums approximate any smooth velocity, as networks with one hidden layer do. (How flows of ODEs approximate maps and densities: Li, Lin and Shen, 2023; Ruiz-Balet and Zuazua, 2023.)
#
# **Trained alike on $U_1$, the ODE flow ends level with a planar stack of the same size, at 16 times as many units a draw. If its velocity is a sum of $M$ planar ones, $KM$ planar layers do what it does, with an error of order $1/K$: an ODE flow of this kind is a stack of very many planar layers with shared parameters.**
#
# ## What does training send back?
#
# Training needs the derivative of the loss by the *parameters* $\theta$ of the velocity, here the $u_m, w_m, b_m, a_m$. The loss is the free energy,
#
# $$
# \mathcal F(\theta) = \mathbb{E}_{q_0}\Big[\ln q_0(z_0) - \ln \tilde p(z(1)) - \int_0^1 \operatorname{tr} \frac{\partial f}{\partial z}\, dt\Big],
# $$
#
# whose first term does not depend on $\theta$. Follow it back through one short step, $z_k = z_{k-1} + \tfrac1K f(z_{k-1}, t; \theta)$ with log-determinant $\tfrac1K \operatorname{tr} \frac{\partial f}{\partial z} + O(K^{-2})$. It passes on to $z_{k-1}$, and hands a share to $\theta$, by the same chain rule:
#
# <a id="eq-N12"></a>
#
# $$
# \begin{aligned}
# g_{k-1} &= g_k + \tfrac1K \Big[ \Big(\frac{\partial f}{\partial z}\Big)^{\!\top} g_k + \ell\, \frac{\partial}{\partial z} \operatorname{tr} \frac{\partial f}{\partial z} \Big] + O(K^{-2}), \\
# \frac{d\mathcal F}{d\theta} &= \sum_{k=1}^K \tfrac1K \Big[ \Big(\frac{\partial f}{\partial \theta}\Big)^{\!\top} g_k + \ell\, \frac{\partial}{\partial \theta} \operatorname{tr} \frac{\partial f}{\partial z} \Big] + O(K^{-1})
# \end{aligned} \tag{N12}
# $$
#
# - $g_k = \partial \mathcal F / \partial z_k$, shape (n, d): what the sweep carries from layer to layer;
# - $\ell = \partial \mathcal F / \partial \ln\lvert\det\rvert = -\tfrac1n$: the same at every layer, since all log-determinants are added up.
#
# Do with it what we did with [(N1)](#eq-N1): subtract, divide by $\tfrac1K$, let $K \to \infty$. Time runs from 1 down to 0, hence the minus sign:
#
# <a id="eq-N13"></a>
#
# $$
# \begin{aligned}
# \frac{dg}{dt} &= -\Big(\frac{\partial f}{\partial z}\Big)^{\!\top} g - \ell\, \frac{\partial}{\partial z} \operatorname{tr} \frac{\partial f}{\partial z}, \\
# g(1) &= -\tfrac1n \nabla \ln \tilde p(z(1)), \\
# \frac{d\mathcal F}{d\theta} &= \int_0^1 \Big[ \Big(\frac{\partial f}{\partial \theta}\Big)^{\!\top} g + \ell\, \frac{\partial}{\partial \theta} \operatorname{tr} \frac{\partial f}{\partial z} \Big]\, dt
# \end{aligned} \tag{N13}
# $$
#
# - the first line is the *adjoint equation*, the second its start at $t = 1$; its $g(0)$ at the end is what a map in front of the ODE, such as our `Affine`, needs;
# - the integral collects, along the way back and over all $n$ points, every moment at which $\theta$ acted.
#
# Both brackets are one pullback through the velocity, with $(f, \operatorname{tr})$ as outputs and $(g, \ell)$ coming in. The solver carries $z$, $g$ and the integral together from $t = 1$ to $0$; nothing is stored on the way forward, and memory does not grow with the length of the flow.
#
# > **Predict.** How fast does the gradient through $K$ Euler steps approach [(N13)](#eq-N13)? And the gradient through $K$ steps of RK4?

# %%
from autograd.misc import flatten

from nflib_min.pullback import pullback_by_autograd

n, ell = 50, -1 / 50
g1 = ell * target.log_density_and_grad(end[:, :2])[1]


def back(t, state):  # d/dt of z, of g, and of the integral in (N13)
    z, g = state[: 4 * n].reshape(2, n, 2)
    velocity_at = partial(small.velocity, t=t)
    f, _, pullback = pullback_by_autograd(velocity_at, theta, z)
    to_theta, to_z = pullback(g, np.full(n, ell))
    return np.concatenate([f.ravel(), -to_z.ravel(), -flatten(to_theta)[0]])


z_g_0 = np.concatenate([end[:, :2].ravel(), g1.ravel(), np.zeros(6 * 8)])
solved = solve_ivp(back, (1.0, 0.0), z_g_0, "DOP853", rtol=1e-11, atol=1e-13)
dF_dtheta = solved.y[4 * n :, -1]


# %%
def F(theta, K):  # the free energy after K Euler steps, without ln q_0
    z, log_det = start, 0.0
    for k in range(K):
        f, trace = small.velocity(theta, z, k / K)
        z, log_det = z + f / K, log_det + trace / K
    return -anp.mean(target.log_density(z) + log_det)


by_euler, by_rk4 = [], []
for K, f in zip(Ks, rk4, strict=True):
    by_euler.append(abs(flatten(grad(F)(theta, int(K)))[0] - dF_dtheta).max())
    zK, _, pullback = f.forward_with_pullback(theta, start)
    g1 = ell * target.log_density_and_grad(zK)[1]
    swept = flatten(pullback(g1, np.full(n, ell))[0])[0]
    by_rk4.append(abs(swept - dF_dtheta).max())
    assert checks.pullback_error(f, theta, start) < 1e-10  # it is autograd's
assert abs(slope(Ks[2:], by_euler[2:]) + 1) < 0.1
assert abs(slope(Ks, by_rk4) + 4) < 0.3


# %% [markdown]
# With slopes $-1$ and $-4$: the sweep is to the adjoint equation what the stack is to the ODE, a solver of it, and it inherits the solver's order. `ODEFlow` trains by the sweep through its own RK4 steps, written out in [ode.py](../nflib_min/fast/ode.py): to rounding the gradient of the map that it performs, at the price of keeping its states. The adjoint keeps nothing, and gives the gradient of the limit; it has to trust its own way back to $z_0$.
#
# **The gradient of an ODE flow is an integral backwards in time: the adjoint equation carries $g$, and $\theta$ collects its share at every moment. Differentiating through $K$ steps gives the exact gradient of those steps; it differs from the adjoint's by the solver's error, $K^{-1}$ for Euler and $K^{-4}$ for RK4, if the velocity is smooth.**
#
# ## Exercises
#
# Each check prints "not attempted", "correct", or what is wrong.
#
# ### Exercise 1: solve one planar velocity by hand
#
# Let $u$, $w$ and $b = 0$ be constant, and follow $y = w^\top z$ alone: by [(N2)](#eq-N2), $\dot y = c \tanh y$ with $c = w^\top u$. Derive $y(t)$ in closed form, from $y_0$ at $t = 0$. Hint: what is the time derivative of $\sinh y$? Then say why it never folds, for any $c$.

# %% tags=["exercise"]
def y_at(y0, c, t):
    return None  # your turn


# %% tags=["check"]
exercises.y_at(y_at)


# %% [markdown]
# ### Exercise 2: take the noise away
#
# The current $J = -q_t \nabla L - \nabla q_t$ can be read as $q_t\, v$: mass that moves, without noise, at the velocity $v(z, t) = -\nabla L - \nabla \ln q_t$. Grains that follow this ODE have the same densities $q_t$ as those of the SDE. Write $v$ for the Ornstein-Uhlenbeck process in one dimension, started at $N(0, \sigma_0^2)$, so that $q_t = N(0, \sigma_t^2)$ with the $\sigma_t$ of [(N7)](#eq-N7). (Why can we not do this for the crescents?)

# %% tags=["exercise"]
def quiet_velocity(z, t, s0):
    return None  # your turn


# %% tags=["check"]
exercises.quiet_velocity(quiet_velocity)


# %% [markdown]
# ### Exercise 3: where do grains with finite steps come to rest?
#
# In a bowl $L = \tfrac12 \lambda z^2$ the density $e^{-L}/Z$ has variance $1/\lambda$. Grains that are moved by `langevin` with a step $dt$ come to rest at another variance. Derive it, for $0 < dt < 2/\lambda$. Which step would leave the variance 5% too large at $\lambda = 1$?

# %% tags=["exercise"]
def resting_variance(dt, curvature):
    return None  # your turn


# %% tags=["check"]
exercises.resting_variance(resting_variance)


# %% [markdown]
# ### Exercise 4: repair a leapfrog
#
# This step of leapfrog has three mistakes. It runs, it returns plausible numbers, and any of the three would spoil a density. Repair it; the check reports which law is broken first: the equations of motion [(N10)](#eq-N10) for short steps, the volume, or the way back with $-\epsilon$.

# %% tags=["exercise"]
def step(z, omega, grad_L, epsilon):  # your turn: three mistakes
    half = omega + epsilon / 2 * grad_L(z)
    z_new = z + epsilon * omega
    omega_new = half - epsilon / 2 * grad_L(z)
    return z_new, omega_new


# %% tags=["check"]
exercises.leapfrog(step)

# %% [markdown]
# ## Break it: take a step that is too long
#
# Both discretizations of the noisy flow have an edge. Where the curvature of $L$ is $\lambda$, `langevin` multiplies $z$ by $1 - \lambda\, dt$: beyond $dt = 2/\lambda$ this is larger than 1 in size, and the grains fly apart. On the grid a cell must not give away more than it holds. The library refuses both and says where the edge is; the last lines take the same steps by hand, to see what that spares us.

# %%
ones = np.ones((5, 2))
for attempt in (
    lambda: diffusions.langevin(lambda z: z, ones, 2.5, 50, rng),
    lambda: diffusions.fokker_planck(q0, bowl, 0.02, 50),
):
    try:
        attempt()
        raise RuntimeError("a step beyond stability was taken")
    except ValueError as error:
        print(error)
z, q = ones, q0
for _ in range(50):
    z = z - 2.5 * z + np.sqrt(2 * 2.5) * rng.standard_normal((5, 2))
    q = q + 10 * (diffusions.fokker_planck(q, bowl, 0.002, 1) - q)  # 0.02
assert abs(z).max() > 1e6 and q.min() < 0

# %% [markdown]
# **Symptom:** grains that leave at an exponential rate with alternating signs; a density with a checkerboard of negative cells. **Cure:** a step below $2/\lambda$ for the largest curvature that the grains meet, or below the limit in the message. Then halve it once more and see whether the answer still changes.
#
# ## What to remember
#
# - $K$ planar layers of size $1/K$ are Euler's method for an ODE: points, log-determinants and gradients converge at the rate $1/K$, if the parameters are smooth in time.
# - Density changes by flux in minus flux out, $\partial_t q_t = -\nabla \cdot (q_t f)$; along a path that says $\frac{d}{dt} \ln q_t(z(t)) = -\operatorname{tr} \frac{\partial f}{\partial z}$.
# - Noise adds $-\nabla q_t$ to the current. A Langevin flow rests at $e^{-L}/Z$ when $L$ is an energy, soon within a mode and late across a gap; its $\ln q_t$ cannot be put into the bound.
# - A Hamiltonian flow keeps volume. Leapfrog does so to rounding, Euler's method does not.
# - RK4 makes the limit affordable, with an error of order $K^{-4}$ in the density that has to be checked. A sum of planar velocities is, in the limit, a stack of planar layers.
# - The adjoint equation is the sweep back through the layers in the limit; the gradient of the parameters is collected along it.
#
# ## In practice
#
# | here | elsewhere |
# |---|---|
# | `ODEFlow` (RK4, fixed steps) | torchdiffeq `odeint(..., method="rk4")`; diffrax `diffeqsolve`; continuous normalizing flows as `zuko.flows.CNF` |
# | gradient by the sweep through the steps | backpropagation through `odeint`; diffrax `RecursiveCheckpointAdjoint` |
# | gradient by (N13) | torchdiffeq `odeint_adjoint`; diffrax `BacksolveAdjoint` |
# | exact trace of planar velocities | for a general network, Hutchinson's random estimate of the trace (FFJORD) |
# | `Leapfrog` | the integrator inside Stan, PyMC, NumPyro and BlackJAX; often called velocity Verlet |
# | `langevin` | unadjusted Langevin algorithm (ULA); with a Metropolis step, MALA |
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), *Variational inference with normalizing flows*, ICML, [arXiv:1505.05770](https://arxiv.org/abs/1505.05770). Section 3.2 has infinitesimal flows and eq. (9), section 4.1 eqs. (10)-(12), Table 1 $U_1$.
# - R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud (2018), *Neural ordinary differential equations*, arXiv:1806.07366. Theorem 1 is (N4); its adjoint method is (N13) without the log-determinant's part.
# - W. Grathwohl, R. T. Q. Chen, J. Bettencourt, I. Sutskever and D. Duvenaud (2019), *FFJORD*, arXiv:1810.01367. General velocities, with an unbiased estimate of the trace.
# - T. Salimans, D. P. Kingma and M. Welling (2015), *Markov chain Monte Carlo and variational inference: bridging the gap*, arXiv:1410.6460. The auxiliary bound that noisy and Hamiltonian flows need.
# - R. M. Neal (2011), *MCMC using Hamiltonian dynamics*, arXiv:1206.1901. Why leapfrog keeps volume, and what is built on it.
# - G. O. Roberts and R. L. Tweedie (1996), *Exponential convergence of Langevin distributions and their discrete approximations*, Bernoulli 2. When Euler-Maruyama converges and when it explodes.
# - D. L. Scharfetter and H. K. Gummel (1969), *Large-signal analysis of a silicon Read diode oscillator*, IEEE Transactions on Electron Devices 16. The rates between cells that rest exactly at $e^{-L}$.
# - Y. Song et al. (2021), *Score-based generative modeling through stochastic differential equations*, arXiv:2011.13456. Its eq. (13) is the quiet flow of exercise 2.
# - Z. Kong and K. Chaudhuri (2020), *The expressive power of a class of normalizing flow models*, arXiv:2006.00392. What a bounded number of planar layers can and cannot do.
# - Q. Li, T. Lin and Z. Shen (2023), *Deep learning via dynamical systems: an approximation perspective*, Journal of the European Mathematical Society 25, arXiv:1912.10382; D. Ruiz-Balet and E. Zuazua (2023), *Neural ODE control for classification, approximation, and transport*, SIAM Review 65. Which maps and densities flows of ODEs reach.
# - E. Hairer, S. P. Nørsett and G. Wanner (1993), *Solving ordinary differential equations I*, Springer. Euler, Runge-Kutta, and the solver DOP853.
