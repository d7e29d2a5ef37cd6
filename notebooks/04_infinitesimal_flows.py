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
#     description: Planar steps become an ODE, log-determinants an integral of traces,
#       and the backward sweep an adjoint equation
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: What happens when the flow gets infinitely long?
# ---

# %% [markdown]
# # What happens when the flow gets infinitely long?
#
# Cut every layer into ever smaller steps and the stack turns into a differential equation: the sum of log-determinants becomes the integral of a trace, the invertibility constraint is no longer needed, and the sweep back through the layers becomes an equation that runs backwards in time.
#
# After this notebook you will be able to
#
# - turn a stack of layers into a differential equation, say how fast it converges, and track its density by a trace;
# - read Langevin, Fokker-Planck and Hamiltonian dynamics as flows, and check each of them by a second route;
# - train a flow of infinite length, and derive the adjoint equation that carries its gradient back.
#
# You need the change of variables of [notebook 02](02_change_of_variables.ipynb), the planar layer of [notebook 03](03_flow_composition.ipynb), and the idea of a differential equation $\dot z = f(z, t)$. It takes about 45 minutes to read and less than one to run. Previous: [How does a simple density become any density?](03_flow_composition.ipynb) Next: [Can one network know the posterior of every image?](05_amortized_inference.ipynb)
#
# The first picture takes a planar layer whose $u$ and $w$ turn with a clock, and delivers its push $u$ in $K$ portions of $u / K$ each.

# %% tags=["setup"]
import autograd.numpy as np  # for what gets differentiated
import matplotlib.pyplot as plt
import numpy as onp  # for all the rest
from autograd import elementwise_grad, grad
from scipy.integrate import solve_ivp

from nflib_min import Affine, Chain, Flow, Planar, StandardNormal, checks
from nflib_min.plotting import BASE, FLOW, show
from notebooks.figures import infinitesimal_flows as figures

# %% tags=["setup"]
from functools import partial

from nflib_min import FreeEnergy, cosine_decay, fit, kl_to_target, table_1
from nflib_min.continuous import Leapfrog, ODEFlow
from nflib_min.diffusions import fokker_planck, fokker_planck_rates, langevin
from nflib_min.planar import planar_layer
from nflib_min.pullback import pullback_by_autograd
from nflib_min.targets import U1

target = table_1("U1")  # two moons, the destination of most flows below


# %%
def layer(t):
    """u, w and b at time t: w turns by half a circle, u points 2 radians ahead of it."""
    u = 3.0 * np.array([np.cos(np.pi * t + 2), np.sin(np.pi * t + 2)])
    w = 1.5 * np.array([np.cos(np.pi * t), np.sin(np.pi * t)])
    return u, w, 0.0


# %% alt="A grid after 1, 3, 10 and 300 planar steps: folded, bent, and twice the same swirl." caption="One push in K portions: one big step folds the plane, many small ones have a limit."
def planar_steps(z, K):
    """K planar layers with u cut to u / K, and the sum of their log-determinants."""
    log_det = 0.0
    for k in range(K):
        u, w, b = layer(k / K)
        z, ln_det = planar_layer(u / K, w, b, z)
        log_det = log_det + ln_det
    return z, log_det


figures.portions(planar_steps)


# %% [markdown]
# **Direction.** Forward runs with time, from $z_0$ at $t = 0$ to $z_1$ at $t = 1$: where a stack counts layers $k = 1, \dots, K$, we now read a clock, $t = k / K$. Every cloud of points starts as a Gaussian; from the fourth section on, its destination is the two-moon density $e^{-U_1} / Z$ of the paper's Table 1.
#
# | symbol | meaning | shape for n points |
# |---|---|---|
# | $z_t$, $q_t$ | points at time $t$, and their density | $(n, d)$, $(n,)$ |
# | $f(z, t)$ | velocity | $(n, d)$ |
# | $\operatorname{tr} \frac{\partial f}{\partial z}$ | trace of its Jacobian (its divergence) | $(n,)$ |
# | $u(t), w(t), b(t)$, $h = \tanh$ | a planar layer whose parameters follow the clock | $(d,), (d,), ()$ |
# | $L(z)$ | an energy: minus a log density, up to a constant | $(n,)$ |
# | $\omega$ | momentum, the second half of a Hamiltonian flow | $(n, d)$ |
# | $G(t)$, $\ell$ | $\partial \mathcal F / \partial z_t$ and $\partial \mathcal F / \partial \log\lvert\det\rvert$ of a loss $\mathcal F$ | $(n, d)$, $(n,)$ |
#
# ## Do ever shorter planar steps lead anywhere?
#
# The picture above suggests so. Each of its $K$ layers is the planar map [(10)](02_change_of_variables.ipynb#eq-10) with a push of $u / K$ instead of $u$:
#
# <a id="eq-N1"></a>
#
# $$
# z_k = z_{k-1} + \tfrac1K\, u(t)\, h\big(w(t)^\top z_{k-1} + b(t)\big), \qquad t = \tfrac{k-1}{K} \tag{N1}
# $$
#
# - $u(t), w(t), b(t)$ are smooth curves of parameters, so that neighbouring layers are alike;
# - $\tfrac1K$ is the time that one layer takes.
#
# Subtract $z_{k-1}$, divide by $\tfrac1K$, and the left side is a difference quotient. What remains as $K \to \infty$ is an ordinary differential equation (ODE):
#
# <a id="eq-N2"></a>
#
# $$
# \frac{dz}{dt} = f(z, t) = u(t)\, h\big(w(t)^\top z + b(t)\big) \tag{N2}
# $$
#
# Read the other way round, [(N1)](#eq-N1) is Euler's method for [(N2)](#eq-N2), the oldest way to solve an ODE. We need a reference to compare with: scipy's `solve_ivp`, an adaptive solver, asked for eleven digits. It carries the integral of a second quantity along, which the next section explains.
#
# > **Predict.** Twice as many layers, each half as long: by which factor does the distance to the limit shrink? By 2, by 4, or by 16?

# %%
def velocity(z, t):
    """f(z, t), shape (n, 2), and tr(df/dz) = u.psi, shape (n,)."""
    u, w, b = layer(t)
    h = np.tanh(np.dot(z, w) + b)
    return h[:, None] * u, (1 - h**2) * np.dot(w, u)


def solve(z, start, end, velocity=velocity, tolerance=1e-11):
    """The path of dz/dt = f from start to end, and the integral of the trace along it."""

    def rate(t, state):
        f, trace = velocity(state.reshape(-1, 3)[:, :2], t)
        return onp.column_stack([f, trace]).ravel()

    state = onp.column_stack([z, onp.zeros(len(z))]).ravel()
    path = solve_ivp(rate, (start, end), state, "DOP853", rtol=tolerance, atol=tolerance)
    state = path.y[:, -1].reshape(-1, 3)
    return state[:, :2], state[:, 2]


def slope(N, error):
    """The exponent p in error ~ N^p: a straight line through the logarithms."""
    return onp.polyfit(onp.log(N), onp.log(error), 1)[0]


# %%
Ks = onp.array([16, 32, 64, 128, 256, 512])
z0 = StandardNormal(2).sample(200, onp.random.default_rng(0))
z1, integral = solve(z0, 0.0, 1.0)
stacks = [planar_steps(z0, K) for K in Ks]
error_z = onp.array([abs(z - z1).max() for z, _ in stacks])
print(f"from K to 2 K the error falls by a factor {error_z[-2] / error_z[-1]:.1f}")
print(f"slope of ln(error) against ln(K): {slope(Ks, error_z):.1f}")
assert abs(slope(Ks, error_z) + 1) < 0.05

# %%
u, w, _ = layer(0.0)
smallest = [1 + float(w @ u) / K for K in (1, 2, 3, 10)]
print("smallest determinant for K = 1, 2, 3, 10:", ", ".join(f"{det:.2f}" for det in smallest))
assert smallest[0] < 0 < min(smallest[1:])

z_back, _ = solve(z1, 1.0, 0.0)
print("the limit run backwards returns to z_0:", abs(z_back - z0).max() < 1e-8)
assert abs(z_back - z0).max() < 1e-8


# %% [markdown]
# The slope is close to $-1$: the error is proportional to $1/K$, the signature of Euler's method. Each step misses the curvature of the path, an error of order $1/K^2$, and $K$ of them add up to order $1/K$.
#
# The second cell is about the folded strip of the first figure. A planar layer is invertible where its smallest determinant, $1 + w^\top u$, is positive; [notebook 03](03_flow_composition.ipynb) bends $u$ to make sure of that. Here $w^\top u = 4.5 \cos 2 \approx -1.9$ would be forbidden. Cut into $K$ portions it is $-1.9 / K$, so that already two layers are safe without any bending, and so is every longer stack.
#
# **A stack of $K$ planar layers of size $1/K$ is Euler's method. It approaches the solution of an ODE with an error proportional to $1/K$, and it needs no constraint on the way: every layer comes so close to the identity that nothing can fold, and the limit is inverted by running the clock backwards.**
#
# ## What becomes of the sum of log-determinants?
#
# One layer of [(N1)](#eq-N1) has $\det = 1 + \tfrac1K u^\top \psi$ with $\psi = h'(w^\top z + b)\, w$, [(11)](02_change_of_variables.ipynb#eq-11) and [(12)](02_change_of_variables.ipynb#eq-12) of notebook 02. Expand the logarithm, $\ln(1 + \tfrac{x}{K}) = \tfrac{x}{K} - \tfrac{x^2}{2K^2} + \dots$; the first terms add up to an integral, the second ones to something of order $1/K$ that disappears:
#
# <a id="eq-N3"></a>
#
# $$
# \begin{aligned}
# \sum_{k=1}^K \ln\Big\lvert 1 + \tfrac1K u^\top \psi(z_{k-1}) \Big\rvert \;\longrightarrow\;& \int_0^1 u^\top \psi(z_t)\, dt \\
# =\;& \int_0^1 \operatorname{tr} \frac{\partial f}{\partial z}(z_t, t)\, dt
# \end{aligned} \tag{N3}
# $$
#
# - $\frac{\partial f}{\partial z} = u\, \psi^\top$ is the Jacobian of the velocity [(N2)](#eq-N2), and the trace of this matrix of rank one is $u^\top \psi$.
#
# Nothing here depends on the velocity being planar: $\ln \det(I + \tfrac1K A) = \tfrac1K \operatorname{tr} A + O(K^{-2})$ holds for every matrix $A$. So the density of any ODE flow changes along a path by
#
# <a id="eq-N4"></a>
#
# $$
# \frac{d}{dt} \ln q_t(z_t) = -\operatorname{tr} \frac{\partial f}{\partial z}(z_t, t) \tag{N4}
# $$
#
# - $q_t$ is the density of the cloud at time $t$; where the velocity diverges (trace above 0) the cloud thins out.
#
# This is what the sum over layers, eq. (13) of the paper, becomes for a flow of infinite length; it is known as the instantaneous change of variables (Chen et al., 2018). In $D$ dimensions a determinant costs $O(D^3)$ operations in general; a trace is $D$ numbers. `solve` above has already integrated it. Two checks follow: the sum converges to the integral, and the density that the integral gives has total mass 1.

# %%
def log_q1(z):
    """ln q_1 anywhere: run back to z_0, which collects minus the integral of the trace."""
    z_start, minus_integral = solve(z, 1.0, 0.0, tolerance=1e-8)
    return StandardNormal(2).log_prob(z_start) + minus_integral


mass = checks.total_mass(log_q1, limits=(-5.0, 5.0), points=160)
print(f"total mass of q_1: {mass:.2f}")
assert abs(mass - 1) < 1e-3

# %% alt="Left: errors of points and log-determinants fall along parallel straight lines as the number of layers grows. Right: the density of the limit, a bright tilted S." caption="Points and log-determinants approach the limit at the same rate, 1/K (left). The density computed from the integral of the trace follows the swirl of the first figure."
error_log_det = onp.array([abs(log_det - integral).max() for _, log_det in stacks])
print(f"slope of ln(error of the log-det) against ln(K): {slope(Ks, error_log_det):.1f}")
assert abs(slope(Ks, error_log_det) + 1) < 0.05
figures.limit(Ks, error_log_det, error_z, log_q1)


# %% [markdown]
# **In the limit the sum of log-determinants is the time integral of a trace. What a stack needs a determinant lemma for, the ODE has for free, and the density it gives still integrates to 1.**
#
# ## Can noise carry a density too?
#
# A velocity moves points along smooth paths. The first example of the paper's section 3.2 is a flow whose paths are not smooth at all, the Langevin stochastic differential equation (SDE):
#
# <a id="eq-9"></a>
#
# $$
# dz = F(z, t)\, dt + G(z, t)\, d\xi \tag{9}
# $$
#
# - $F$ is the drift, a velocity; $G$ scales the noise (this section only: the letter means something else at the end of the notebook);
# - $d\xi$ is Gaussian noise of variance $dt$, new at every instant.
#
# No single path has a determinant, yet the density obeys an ordinary law, the Fokker-Planck equation. With $D = G G^\top$,
#
# <a id="eq-N5"></a>
#
# $$
# \frac{\partial q_t}{\partial t} = -\sum_i \frac{\partial}{\partial z_i} \big[F_i\, q_t\big] + \frac12 \sum_{i,j} \frac{\partial^2}{\partial z_i \partial z_j} \big[D_{ij}\, q_t\big] \tag{N5}
# $$
#
# - the first sum moves mass along the drift, the second spreads it.
#
# From here on $F = -\nabla L$ and $G = \sqrt 2\, I$ for an energy $L$. For $L = \frac12 \lvert z \rvert^2$ this is the Ornstein-Uhlenbeck process, the one case in which everything is known: a Gaussian stays a Gaussian, and
#
# <a id="eq-N6"></a>
#
# $$
# q_t = N\big(e^{-t} m_0,\; \sigma_t^2 I\big), \qquad \sigma_t^2 = 1 + (\sigma_0^2 - 1)\, e^{-2t} \tag{N6}
# $$
#
# - $m_0$ and $\sigma_0$ are mean and standard deviation at the start.
#
# > **Predict.** Start narrow and off centre, $m_0 = (2, 0)$ and $\sigma_0 = 0.5$. Which is forgotten first, the place or the width?
#
# Three routes to the same densities: the formula; 20,000 particles moved by `langevin`, which is Euler's method with noise (Euler-Maruyama: $z \leftarrow z - \nabla L\, dt + \sqrt{2\, dt}\, \epsilon$); and a grid on which `fokker_planck` passes probability from cell to cell, without a random number anywhere. Both functions are in [continuous.py](../nflib_min/continuous.py).

# %%
def exact(t, m0=2.0, s0=0.5):
    """Mean of z_1 and variance of each coordinate at time t, (N6)."""
    return m0 * onp.exp(-t), 1 + (s0**2 - 1) * onp.exp(-2 * t)


def gaussian(z, mean, variance):
    """The density of N((mean, 0), variance I)."""
    square = (z[:, 0] - mean) ** 2 + z[:, 1] ** 2
    return onp.exp(-0.5 * square / variance) / (2 * onp.pi * variance)


# %%
grid, cell = checks.grid((-5.0, 5.0), 100)
rates = fokker_planck_rates(lambda z: 0.5 * (z**2).sum(axis=1), grid, cell)
rng, q0 = onp.random.default_rng(0), gaussian(grid, *exact(0.0))
start = onp.array([2.0, 0.0]) + 0.5 * rng.standard_normal((20_000, 2))
by_grid, by_particles = {0.0: q0}, {0.0: start}
for t in (0.25, 1.0, 3.0):
    by_grid[t] = fokker_planck(q0, rates, 0.002, round(t / 0.002))
    by_particles[t] = langevin(lambda z: z, start, 0.005, round(t / 0.005), rng)

# %%
for t, z in by_particles.items():
    mean, variance = exact(t)
    misplaced = 0.5 * abs(by_grid[t] - gaussian(grid, mean, variance)).sum() * cell
    print(f"t = {t:<4} mean {mean:.2f} | {z[:, 0].mean():.2f}", end="   ")
    print(f"variance {variance:.2f} | {z[:, 0].var():.2f}")
    assert abs(by_grid[t].sum() * cell - 1) < 1e-6 and misplaced < 1e-3
    assert abs(z[:, 0].mean() - mean) < 0.03 and abs(z[:, 0].var() / variance - 1) < 0.05

# %% alt="Bell curves of the first coordinate at times 0, 0.25, 1 and 3: a narrow one at 2 widens and drifts to 0. Lines, dots and histograms coincide." caption="Three routes to one density: closed form (lines), Fokker-Planck on a grid (dots), Euler-Maruyama particles (shaded). The width has nearly settled while the place still moves."
fig, ax = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
axis = grid[:100, 0]
for t, q in by_grid.items():
    color = FLOW if t else BASE
    line = gaussian(grid, *exact(t)).reshape(100, 100).sum(axis=0) * 0.1
    ax.plot(axis, line, color=color)
    ax.plot(axis[::3], q.reshape(100, 100).sum(axis=0)[::3] * 0.1, "o", color=color, ms=4)
    ax.hist(by_particles[t][:, 0], bins=60, density=True, color=color, alpha=0.15)
    ax.annotate(f"t = {t:g}", (exact(t)[0], line.max() + 0.02), ha="center")
ax.set(xlabel="$z_1$", ylabel="density of $z_1$", xlim=(-4, 4.5), ylim=(0, 0.9))
show(fig)


# %% [markdown]
# The width forgets at the rate $e^{-2t}$, the place at $e^{-t}$: at $t = 1$ the mean has kept $e^{-1} \approx 37\,\%$ of its distance, and the variance only $e^{-2} \approx 14\,\%$ of its. The particles carry an error of sampling, the grid does not: less than 0.1 % of its probability sits in the wrong place.
#
# **A flow may be random path by path, and its density still moves by an exact law: closed form, particles and grid agree on every $q_t$.**
#
# ## Where does the noise come to rest?
#
# Ask [(N5)](#eq-N5) for a density that does not change. Its right side is minus the divergence of a current, $J = F q - \nabla q = -q\, \nabla L - \nabla q$, and there is one density for which the current itself vanishes everywhere:
#
# <a id="eq-N7"></a>
#
# $$
# \nabla q_\infty = -q_\infty \nabla L \quad\Longleftrightarrow\quad q_\infty(z) = \tfrac1Z e^{-L(z)} \tag{N7}
# $$
#
# - $Z = \int e^{-L}\, dz$, which the current does not need to know.
#
# **An erratum (E1).** The paper introduces $L$ as an unnormalized log density. With the drift $-\nabla L$ and the stationary density $e^{-L}$ that it gives right after, $L$ has to be an *energy*, a negative log density; then everything fits. It matters in code: the first thing to test is the sign.
#
# > **Predict.** Put particles exactly where they should end, on 2,000 exact draws from $e^{-U_1}/Z$, and let them run for one unit of time: once with the drift $-\nabla U_1$, once with $+\nabla U_1$, which is what a log density in the place of $L$ would mean. How far from the origin are they afterwards?
#
# The first cell below tries both signs. The second starts from a standard normal instead and watches the whole density arrive. The distance to the target, $\mathrm{KL}(q_t \Vert q_\infty)$, can only fall along the way, and on a grid we can follow it without any sampling. The rates of `fokker_planck_rates` are chosen such that the currents between neighbouring cells cancel exactly at $e^{-U_1}$: the grid comes to rest at the right density, not merely near it.

# %%
def after(sign):
    """Where exact draws of the target are after one unit of time with drift -sign grad U1."""
    return langevin(lambda z: -sign * target.log_density_and_grad(z)[1], draws, 0.005, 200, rng)


draws = target.sample(2000, onp.random.default_rng(1))
radius = [onp.linalg.norm(z, axis=1).mean() for z in (draws, after(1), after(-1))]
print(f"mean radius: {radius[0]:.1f}; L an energy: {radius[1]:.1f};", end=" ")
print("L a log density, more than 100:", radius[2] > 100)
assert abs(radius[1] - radius[0]) < 0.05 and radius[2] > 100

# %%
rates = fokker_planck_rates(U1, grid, cell)
films = {0.0: gaussian(grid, 0.0, 1.0)}
for t in (0.1, 1.0, 8.0):
    films[t] = fokker_planck(films[0.0], rates, 0.0016, round(t / 0.0016))
log_p = target.log_prob(grid)
kl = [(q * (onp.log(q) - log_p)).sum() * cell for q in films.values()]
print("KL(q_t || e^-U1 / Z) at t = 0, 0.1, 1:", ", ".join(f"{nats:.3f}" for nats in kl[:3]))
assert kl[0] > kl[1] > kl[2] > kl[3] and kl[2] < 0.01 and abs(kl[3]) < 1e-5

# %% alt="Densities at times 0, 0.1, 1 and 8: a Gaussian blob empties in the middle and becomes two moons, facing each other left and right." caption="The Langevin flow carries a standard normal to the two moons: Fokker-Planck on a grid. From t = 1 on the eye sees no difference, and the KL is below 0.01 nats."
figures.two_moons(films)


# %% [markdown]
# With the right sign nothing happens to the exact draws, which is what stationary means. With the other one, the particles run downhill in probability and are gone. The grid agrees: after eight units of time the KL to the target is 0 to within $10^{-5}$ nats.
#
# **With $L$ an energy the Langevin flow comes to rest at $e^{-L}/Z$, whatever the start. It is a flow that needs no training and no normalizer, and its price is time: it is exact only after infinitely much of it.**
#
# ## Can a flow move without changing any volume?
#
# The paper's second example moves $z$ together with a momentum $\omega$ of the same size. With the sign of E1 repaired (the paper prints $H = -L - \frac12 \omega^\top M \omega$; we take $M = I$), the energy and the equations of motion are
#
# <a id="eq-N8"></a>
#
# $$
# H(z, \omega) = L(z) + \tfrac12 \lvert\omega\rvert^2, \qquad \frac{dz}{dt} = \omega, \qquad \frac{d\omega}{dt} = -\nabla L(z) \tag{N8}
# $$
#
# - $\dot z$ does not depend on $z$, nor $\dot\omega$ on $\omega$: the diagonal blocks of the Jacobian are 0, and so is the trace.
#
# By [(N4)](#eq-N4) the density does not change along a path: the flow carries volume like an incompressible fluid. But a computer takes steps, and not every kind of step keeps the promise. `Leapfrog` moves half of the coordinates at a time by a function of the *other* half, in the same way as an additive coupling layer (NICE); its log-determinant is 0 for any step size. Euler's method moves both halves by the *old* values.
#
# > **Predict.** For $L = \frac12 \lvert z \rvert^2$ in two dimensions, one Euler step of size $\epsilon$ has the Jacobian $\begin{pmatrix} I & \epsilon I \\ -\epsilon I & I \end{pmatrix}$. What is its determinant, and what does it grow to in 40 steps of $\epsilon = 0.05$?

# %%
class EulerHamiltonian(Leapfrog):
    """The same flow by Euler's method: both halves move by the old values."""

    def forward(self, params, zw):
        for _ in range(self.steps):
            z, w = zw[:, :2], zw[:, 2:]
            zw = zw + self.step_size * np.concatenate([w, -self.grad_energy(z)], axis=1)
        return zw


zw = onp.column_stack([draws[:20], onp.random.default_rng(2).standard_normal((20, 2))])
drift = checks.log_det_by_autodiff(EulerHamiltonian(lambda z: z, 2, 0.05, 40), {}, zw)
print(f"ln|det| of 40 Euler steps in the bowl: {drift.mean():.2f}")
assert onp.allclose(drift, 40 * 2 * onp.log1p(0.05**2))

force = elementwise_grad(U1)  # grad L by autograd, so that it can be differentiated once more
kinds, log_dets = {"leapfrog": Leapfrog, "Euler": EulerHamiltonian}, {}
for name, kind in kinds.items():
    maps = [kind(force, 2, step_size=0.05, steps=steps) for steps in (10, 20, 40, 80)]
    log_dets[name] = onp.array([checks.log_det_by_autodiff(f, {}, zw) for f in maps])
print("on the moons, leapfrog, |ln|det|| < 1e-12:", abs(log_dets["leapfrog"]).max() < 1e-12)
print("on the moons, Euler, mean ln|det|:", ", ".join(f"{v.mean():.1f}" for v in log_dets["Euler"]))
assert abs(log_dets["leapfrog"]).max() < 1e-12 and log_dets["Euler"].min() > 0.1

# %% alt="Left: two paths from one start over the two moons; the solid one stays on a moon, the dashed one swings wider. Right: the log-determinant, 0 for leapfrog and rising for Euler." caption="Leapfrog (solid) keeps to its energy, Euler (dashed) swings wider and wider (left). Euler's volume grows with every step, leapfrog's stays the same to rounding (right)."
figures.leapfrog(force, kinds, log_dets, target)

# %% [markdown]
# The determinant of one step is $(1 + \epsilon^2)^2$: hardly above 1, but never below, and it adds up. On the two moons the second derivatives of $U_1$ take the place of the 1, and the drift is faster. `checks.log_det_by_autodiff` builds the whole Jacobian of all steps and takes its determinant, so that it knows nothing of shears and promises.
#
# Leapfrog is not exact, its paths differ a little from those of [(N8)](#eq-N8). What it keeps to rounding is the one quantity that a density needs. That is why it is the motor of Hamiltonian Monte Carlo, and of Hamiltonian variational inference, which the paper compares itself with.
#
# **A flow whose velocity has trace 0 keeps all volumes; whether its steps do depends on the solver. Leapfrog's log-determinant is 0 to rounding at any step size, Euler's drifts.**
#
# ## Which solver can stand in for the limit?
#
# Euler's method needs ten times the layers for one more digit. A method of higher order, the classical Runge-Kutta scheme (RK4), asks for the velocity four times a step and wins four digits for the same tenfold. `ODEFlow` in [continuous.py](../nflib_min/continuous.py) uses it on a velocity that is a sum of $M$ planar ones:
#
# <a id="eq-N9"></a>
#
# $$
# \begin{aligned}
# f(z, t) &= \sum_{m=1}^M u_m \tanh\big(w_m^\top z + b_m + a_m t\big), \\
# \operatorname{tr} \frac{\partial f}{\partial z} &= \sum_{m=1}^M w_m^\top u_m \tanh'\big(w_m^\top z + b_m + a_m t\big)
# \end{aligned} \tag{N9}
# $$
#
# - $u_m, w_m$ are vectors and $a_m, b_m$ numbers; $a_m t$ lets the velocity change with the clock.
#
# One thing is different from a stack of layers. There the log-determinant is exact for every $K$, since each layer has its own. Here the points and the integral of the trace are both approximations, and they need not fit each other: the log-det that RK4 reports is not quite the log-det of the map that RK4 performs. The last line of the check measures this mismatch by autodiff.
#
# > **Predict.** What are the slopes of the three errors against the number of steps $N$?

# %%
rng = onp.random.default_rng(0)
params = ODEFlow(2, width=8).init(rng)
params["u"] = rng.standard_normal((8, 2))  # a lively velocity
ode_velocity = lambda z, t: ODEFlow(2, width=8).velocity(params, z, t)  # noqa: E731
z_end, trace_integral = solve(z0, 0.0, 1.0, ode_velocity)

Ns = onp.array([8, 16, 32, 64, 128])
errors = {"points": [], "log-det": [], "log-det against autodiff": []}
for N in Ns:
    f = ODEFlow(2, width=8, steps=int(N))
    z, log_det = f.forward_and_log_det(params, z0)
    errors["points"].append(abs(z - z_end).max())
    errors["log-det"].append(abs(log_det - trace_integral).max())
    mismatch = abs(log_det - checks.log_det_by_autodiff(f, params, z0)).max()
    errors["log-det against autodiff"].append(mismatch)
for name, error in errors.items():
    print(f"slope, {name}: {slope(Ns, error):.0f}")
    assert abs(slope(Ns, error) + 4) < 0.25 and error[0] < 0.01

# %% [markdown]
# All three are close to $-4$. With $N = 8$ steps the largest error over 200 points is below 0.01; where that is too much, doubling $N$ makes it sixteen times smaller without touching a single parameter.
#
# **RK4 with a few steps stands in for infinitely many layers: against an adaptive reference its error falls like $N^{-4}$, in the points and in the log-determinant. That error replaces the exactness that a stack has, so it has to be checked.**
#
# ## How good is an infinitely long flow?
#
# Time to train one. Loss and optimizer are those of [notebook 03](03_flow_composition.ipynb): the free energy [(15)](03_flow_composition.ipynb#eq-15) from [objectives.py](../nflib_min/objectives.py), minimized by `fit` from [training.py](../nflib_min/training.py), on $U_1$ from [targets.py](../nflib_min/targets/table_1.py). Beside it stand two planar stacks with the same small budget, 1000 steps of 256 draws: $K = 32$ has 160 parameters where the ODE flow has 192, $K = 2$ has 10. Every fit is done from three seeds, because one seed proves little. Each is preceded by an `Affine` map, which places and scales the Gaussian.
#
# > **Predict.** The paper claims that a flow of infinite length can reach any density (E8: it claims so for infinitesimal flows only, and indeed a stack of finitely many planar layers in a fixed dimension is limited). Will the ODE flow beat the stack of the same size here?

# %%
maps = {
    "planar, K = 2": Planar(2, length=2),
    "planar, K = 32": Planar(2, length=32),
    "ODE, M = 32": ODEFlow(2, width=32, steps=8),
}
kls = {name: [] for name in maps}
for seed in range(3):
    for name, f in maps.items():
        rng, flow = onp.random.default_rng(seed), Flow(StandardNormal(2), Chain([Affine(2), f]))
        loss, rate = FreeEnergy(flow, target, batch=256), cosine_decay(2e-2, 1000)
        trained = fit(loss, flow.init(rng), 1000, rng, learning_rate=rate).params
        kls[name].append(kl_to_target(trained, flow, target, 50_000, rng)[0])
for name, nats in kls.items():
    print(f"{name:<15} KL(q || p) below 0.1 nats from each of three seeds:", max(nats) < 0.1)
assert max(kls["ODE, M = 32"] + kls["planar, K = 32"]) < 0.1 < 0.2 < min(kls["planar, K = 2"])

# %% [markdown]
# No, they are level: all six fits end within a tenth of a nat, usually far within, where two layers stay more than 0.2 away and the best single Gaussian 0.90 ([notebook 01](01_elbo.ipynb)). Which of the six is best depends on the seed and even on how your processor rounds. Being able to reach everything in principle does not make 32 planar velocities better than 32 planar layers. What the ODE gives is something else: no constraint on the parameters, an inverse that costs no more than the forward pass (the planar stack has to find 32 roots), and an accuracy that can be chosen *after* training. The next cell uses the last two: it evaluates the trained flow with 64 steps in place of 8, and its density on a grid through the inverse. After that, the flow is stopped on its way, since every $q_t$ is the density of some cloud.

# %%
fine = Flow(StandardNormal(2), Chain([Affine(2), ODEFlow(2, width=32, steps=64)]))
kl_fine, _ = kl_to_target(trained, fine, target, 50_000, rng)
log_q = partial(fine.log_prob, trained)
kl_grid = checks.kl_by_quadrature(log_q, target.log_prob, (-5.0, 5.0), 120)
mass = checks.total_mass(log_q, (-5.0, 5.0), 120)
moves, differs = abs(kl_fine - kls["ODE, M = 32"][-1]), abs(kl_grid - kl_fine)
print(f"64 steps: the KL moves by less than 0.01 nats: {moves < 0.01}; total mass {mass:.2f}")
print(f"by draws and on a grid it is the same to 0.01 nats: {differs < 0.01}")
assert max(moves, differs) < 0.01 and abs(mass - 1) < 1e-3

# %% alt="A cloud of points at times 0, 0.3, 0.6 and 1 opens in the middle and ends on two moons, inside the contours of the target, with a few points left on the way between them." caption="The trained ODE flow carries a Gaussian to the two moons (lines: the target). Paths cannot cross and the cloud cannot tear, so a thin bridge between the moons remains."
centred = Affine(2).forward(trained[0], StandardNormal(2).sample(2000, onp.random.default_rng(3)))
field = lambda z, t: maps["ODE, M = 32"].velocity(trained[1], z, t)  # noqa: E731
figures.ode_flow(centred, field, solve, target)


# %% [markdown]
# **An ODE flow trained on $U_1$ ends within a few hundredths of a nat of it, level with a planar stack of the same size. Infinite length brings freedom, from constraints, root finding and a fixed depth; it does not bring accuracy by itself.**
#
# ## What does the sweep back through the layers become?
#
# Training needs the gradient of a loss $\mathcal F$, for example of the free energy. Through a stack it is a sweep from the last layer to the first, the pullback of [sweeps.py](../nflib_min/fast/planar.py). For one step $z_k = z_{k-1} + \tfrac1K f(z_{k-1})$ with log-determinant $\tfrac1K \operatorname{tr} \frac{\partial f}{\partial z} + O(K^{-2})$, the chain rule says
#
# <a id="eq-N10"></a>
#
# $$
# G_{k-1} = G_k + \tfrac1K \left[ \Big(\frac{\partial f}{\partial z}\Big)^{\!\top} G_k + \ell\, \frac{\partial}{\partial z} \operatorname{tr} \frac{\partial f}{\partial z} \right] + O(K^{-2}) \tag{N10}
# $$
#
# - $G_k = \partial \mathcal F / \partial z_k$, shape $(n, d)$, is what the sweep carries from layer to layer;
# - $\ell = \partial \mathcal F / \partial \log\lvert\det\rvert$ is the same at every layer, because all log-determinants are added up.
#
# Do with it what we did with [(N1)](#eq-N1): subtract, divide by $\tfrac1K$, let $K \to \infty$. Time runs from 1 down to 0, hence the minus sign:
#
# <a id="eq-N11"></a>
#
# $$
# \frac{dG}{dt} = -\Big(\frac{\partial f}{\partial z}\Big)^{\!\top} G - \ell\, \frac{\partial}{\partial z} \operatorname{tr} \frac{\partial f}{\partial z} \tag{N11}
# $$
#
# This is the adjoint equation. The sweep is to it what the stack is to the ODE, Euler's method, and so we know what to expect. The loss is the free energy of $U_1$: $G(1) = -\frac1n \nabla \ln \tilde p(z_1)$ and $\ell = -\frac1n$. First the sweep for the planar steps, exact for every $K$ and written out with the letters of [sweeps.py](../nflib_min/fast/planar.py), against autograd.
#
# > **Predict.** How fast does the gradient from $K$ planar layers approach the solution of [(N11)](#eq-N11)? And the gradient from $N$ steps of RK4?

# %%
def sweep(z0, K, ell):
    states = [z0]
    for k in range(K):
        u, w, b = layer(k / K)
        states.append(planar_layer(u / K, w, b, states[-1])[0])
    G = target.log_density_and_grad(states[-1])[1] * ell  # ell = -1/n
    for k in reversed(range(K)):
        u, w, b = layer(k / K)
        h = onp.tanh(states[k] @ w + b)
        s, c = 1 - h**2, w @ u / K
        e = s * (G @ u / K - 2 * ell * c * h / (1 + c * s))
        G = G + e[:, None] * w
    return G


def F(z):
    zK, log_det = planar_steps(z, K=16)
    return -np.mean(target.log_density(zK) + log_det)


points = z0[:50]
error = abs(sweep(points, 16, -1 / 50) - grad(F)(points)).max()
print("the sweep is autograd's, to 1e-12:", error < 1e-12)
assert error < 1e-12


# %% [markdown]
# For the limit we solve [(N11)](#eq-N11) backwards with `solve_ivp`, together with [(N2)](#eq-N2), which tells where the path was. Its right side, without the minus sign, is one pullback through the velocity, $(f, \operatorname{tr})$ being the outputs and $(G, \ell)$ what comes in; the library's `pullback_by_autograd` does it for any velocity. Nothing is stored on the way forward, which is the adjoint's attraction: memory does not grow with the length of the flow. `ODEFlow` makes the other choice. It differentiates its own RK4 steps, in a sweep written out in [sweeps.py](../nflib_min/fast/planar.py): exact for the map it performs, at the price of keeping the states. So it has to agree with autograd to rounding at every $N$, and with the adjoint equation at order 4.

# %%
def adjoint(z1, ell, velocity):
    """dF/dz_0 by (N11): z and G solved together, from t = 1 back to 0."""

    def rate(t, state):
        z, G = state.reshape(2, -1, 2)
        f, _, pullback = pullback_by_autograd(lambda _, z: velocity(z, t), {}, z)
        return onp.stack([f, -pullback(G, onp.full(len(z), ell))[1]]).ravel()

    state = onp.stack([z1, target.log_density_and_grad(z1)[1] * ell]).ravel()
    path = solve_ivp(rate, (1.0, 0.0), state, "DOP853", rtol=1e-11, atol=1e-13)
    return path.y[:, -1].reshape(2, -1, 2)[1]


G0 = adjoint(z1[:50], -1 / 50, velocity)
sweep_error = [abs(sweep(points, K, -1 / 50) - G0).max() for K in Ks]
print(f"slope, planar sweep to adjoint: {slope(Ks, sweep_error):.1f}")
assert abs(slope(Ks, sweep_error) + 1) < 0.05

# %%
G0_ode, ode_error = adjoint(z_end[:50], -1 / 50, ode_velocity), []
for N in Ns:
    zK, _, pullback = ODEFlow(2, 8, int(N)).forward_with_pullback(params, points)
    G = pullback(target.log_density_and_grad(zK)[1] / -50, onp.full(50, -1 / 50))[1]
    ode_error.append(abs(G - G0_ode).max())
    assert checks.pullback_error(ODEFlow(2, 8, int(N)), params, points) < 1e-10  # autograd's
print(f"slope, RK4 sweep to adjoint: {slope(Ns, ode_error):.0f}")
assert abs(slope(Ns, ode_error) + 4) < 0.25


# %% [markdown]
# **The adjoint equation is the pullback sweep of an infinitely long flow. A sweep through finitely many steps differs from it by the solver's own error, of order 1 or 4, and differs from autograd by rounding.**
#
# ## Exercises
#
# Each check says "not attempted", "correct", or what the answer looks like.
#
# ### Exercise 1: solve one planar velocity by hand
#
# Let $u$, $w$ and $b = 0$ be constant, and follow $a = w^\top z$ alone: by [(N2)](#eq-N2), $\dot a = c \tanh a$ with $c = w^\top u$. Find $a(t)$ in closed form. (Hint: what is the time derivative of $\sinh a$?) Note how it never folds, for any $c$.

# %% tags=["exercise"]
def a_at(a0, c, t):
    """The solution of da/dt = c tanh(a) at time t, from a0 at time 0."""
    return None  # your turn


# %% tags=["check"]
a0, c, t = onp.array([-1.5, 0.2, 1.0]), -2.0, 0.7
want = solve_ivp(lambda t, a: c * onp.tanh(a), (0, t), a0, rtol=1e-10, atol=1e-12).y[:, -1]
got = a_at(a0, c, t)
if got is None:
    print("not attempted")
elif onp.allclose(got, want, atol=1e-6):
    print("correct: sinh(a) grows like e^(c t), so it keeps its sign, and order is kept for ever")
elif onp.allclose(got, a0 + c * t * onp.tanh(a0)):
    print("this is one step of Euler's method, a single planar layer: the limit is asked for")
elif onp.allclose(got, onp.arcsinh(onp.exp(c) * onp.sinh(a0))):
    print("this is the value at t = 1: the exponent is c t")
elif onp.allclose(got, onp.exp(c * t) * onp.sinh(a0)):
    print("this is sinh(a): take the inverse function at the end")
elif onp.allclose(got, a0 * onp.exp(c * t)):
    print("this solves da/dt = c a, which is right near a = 0 only")
else:
    print("not yet: at a0 = 0.2, c = -2, t = 0.7 expected", want[1].round(4))


# %% [markdown]
# ### Exercise 2: take the noise away
#
# The current of the fourth section, $J = -q\, \nabla L - \nabla q$, can be read as $q\, v$: mass that moves with a velocity $v(z, t) = -\nabla L - \nabla \ln q_t$, and no noise. Particles that follow this ODE have the same densities $q_t$ as the SDE. Write $v$ for the Ornstein-Uhlenbeck process in one dimension, started at $N(0, \sigma_0^2)$, so that $q_t = N(0, \sigma_t^2)$ with the $\sigma_t$ of [(N6)](#eq-N6).

# %% tags=["exercise"]
def quiet_velocity(z, t, s0):
    """v(z, t) for L = z^2 / 2 and q_0 = N(0, s0^2)."""
    return None  # your turn


# %% tags=["check"]
z, s0, t = onp.array([-1.0, 0.3, 2.0]), 0.5, 0.4
s2 = 1 + (s0**2 - 1) * onp.exp(-2 * t)
got, score = quiet_velocity(z, t, s0), -z / s2
if got is None:
    print("not attempted")
elif onp.allclose(got, -z - score):
    end = solve_ivp(lambda t, z: quiet_velocity(z, t, s0), (0, t), z, rtol=1e-9, atol=1e-9).y[:, -1]
    assert onp.allclose(end / z, onp.sqrt(s2) / s0, atol=1e-6)
    print("correct: every point is stretched by sigma_t / sigma_0, and nobody drew a random number")
elif onp.allclose(got, -z):
    print("this is the drift alone: what the noise does, -grad ln q_t, is missing")
elif onp.allclose(got, -z + score):
    print("the sign of the second term: diffusion moves mass from high q to low q")
elif onp.allclose(got, -z + z / s0**2):
    print("this uses the variance at the start: ln q_t has sigma_t at time t")
elif onp.allclose(got, -z + z / onp.sqrt(s2)):
    print("divide by the variance: ln q_t = -z^2 / (2 sigma_t^2) + const")
else:
    print("not yet: at z = 2, t = 0.4, s0 = 0.5 expected", (-z - score)[2].round(4))

# %% [markdown]
# ## Break it: take a step that is too long
#
# Both discretisations have an edge. Euler-Maruyama multiplies $z$ by $1 - \lambda\, dt$ where the curvature of $L$ is $\lambda$: beyond $dt = 2 / \lambda$ the factor is larger than 1 in size and the points explode. On the grid a cell must not give away more than it holds. The library refuses both and says where the edge is; the last lines take the same steps by hand, to show what that spares us.

# %%
bowl = fokker_planck_rates(lambda z: 0.5 * (z**2).sum(axis=1), grid, cell)
attempts = {
    "langevin": lambda: langevin(lambda z: z, onp.ones((5, 2)), 2.5, 50, rng),
    "fokker_planck": lambda: fokker_planck(q0, bowl, 0.02, 50),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(f"{name} took a step beyond stability")
    except ValueError as error:
        print(f"{name} refuses. {error}")

z, q = onp.ones(5), q0
for _ in range(50):
    z = (1 - 2.5) * z + onp.sqrt(2 * 2.5) * rng.standard_normal(5)
    q = q + 10 * (fokker_planck(q, bowl, 0.002, 1) - q)  # a step of 0.02 in disguise
print("unrefused: |z| > 1e6:", abs(z).max() > 1e6, "| negative probabilities:", q.min() < 0)
assert abs(z).max() > 1e6 and q.min() < 0

# %% [markdown]
# *Symptom:* particles that leave at an exponential rate with alternating signs, or a density with a checkerboard of negative cells. *Cure:* a smaller $dt$, below $2/\lambda$ for the largest curvature $\lambda$ that the particles meet, or below the limit in the message; halve it again to see whether the answer still changes.
#
# ## What to remember
#
# - $K$ planar layers of size $1/K$ are Euler's method for an ODE; points, log-determinants and gradients all converge at the rate $1/K$.
# - $\frac{d}{dt} \ln q_t(z_t) = -\operatorname{tr} \frac{\partial f}{\partial z}$: a trace in place of a determinant, and no constraint, because an ODE can be run backwards.
# - A Langevin flow rests at $e^{-L}/Z$ when $L$ is an energy. Mind the sign.
# - A Hamiltonian flow keeps volume. Leapfrog keeps it to rounding, Euler does not.
# - RK4 makes the limit affordable, with an error of order 4 in the density that must be checked; training one costs no accuracy and gains none by itself.
# - The adjoint equation is the pullback sweep in the limit.
#
# ## In practice
#
# | here | elsewhere |
# |---|---|
# | `ODEFlow` (RK4, fixed steps) | torchdiffeq `odeint(..., method="rk4")`; diffrax `diffeqsolve`; continuous normalizing flows as `zuko.flows.CNF` |
# | gradient by the sweep through the steps | backpropagation through `odeint`; diffrax `RecursiveCheckpointAdjoint` |
# | gradient by (N11) | torchdiffeq `odeint_adjoint`; diffrax `BacksolveAdjoint` |
# | exact trace of planar velocities | for a general network, Hutchinson's random estimate of the trace (FFJORD) |
# | `Leapfrog` | the integrator inside Stan, PyMC, NumPyro and BlackJAX; often called velocity Verlet |
# | `langevin` | unadjusted Langevin algorithm (ULA); with a Metropolis step, MALA |
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), Variational inference with normalizing flows, arXiv:1505.05770: section 3.2 for infinitesimal flows and eq. (9), section 4.1 for eqs. (10) to (13), Table 1 for $U_1$.
# - R. T. Q. Chen, Y. Rubanova, J. Bettencourt and D. Duvenaud (2018), Neural ordinary differential equations, arXiv:1806.07366: theorem 1 is [(N4)](#eq-N4), and its adjoint equation is [(N11)](#eq-N11) without the log-determinant's part.
# - W. Grathwohl, R. T. Q. Chen, J. Bettencourt, I. Sutskever and D. Duvenaud (2019), FFJORD, arXiv:1810.01367: general velocities with an unbiased estimate of the trace.
# - R. M. Neal (2011), MCMC using Hamiltonian dynamics, arXiv:1206.1901: why leapfrog keeps volume, and what is built on it.
# - G. O. Roberts and R. L. Tweedie (1996), Exponential convergence of Langevin distributions and their discrete approximations, Bernoulli 2: when Euler-Maruyama converges and when it explodes.
# - D. L. Scharfetter and H. K. Gummel (1969), Large-signal analysis of a silicon Read diode oscillator, IEEE Transactions on Electron Devices 16: the rates between cells that rest exactly at $e^{-L}$.
# - Y. Song et al. (2021), Score-based generative modeling through stochastic differential equations, arXiv:2011.13456: eq. (13) is the noiseless flow of exercise 2.
# - E. Hairer, S. P. Nørsett and G. Wanner (1993), Solving ordinary differential equations I, Springer: Euler, Runge-Kutta and DOP853, the reference solver used here.
