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
#     description: Thirteen real mistakes as switches on one program, the laws that
#       catch each, and the checks that catch none
#     tags:
#     - normalizing-flows
#     - variational-inference
#     title: How do flows go wrong, and who notices?
# ---

# %% [markdown]
# # How do flows go wrong, and who notices?
#
# By one wrong line as a rule, and the falling loss does not notice: a mistake is caught by a law that the right program must obey, asked far from the identity, with the size of the violation as the alarm.

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np

from nflib_min import Affine, Chain, Flow, Planar, StandardNormal, checks, objectives
from nflib_min.plotting import FLOW, LOG_DET, show
from notebooks import mistakes
from notebooks.figures import when_flows_fail as figures

# %%
programs = {"correct": mistakes.VariationalProgram()}
programs |= {name: wrong() for name, wrong in mistakes.MISTAKES.items()}
runs = {name: program.train() for name, program in programs.items()}
reports = {name: mistakes.run_checks(p, runs[name]) for name, p in programs.items()}
alarms = {name: mistakes.failed(errors) for name, errors in reports.items()}


def size(error):
    return "> 10" if error > 10 else f"{error:.2g}"


# %% alt="Left, fourteen training losses that all fall overall. Right, how many laws object to each: none to the correct one, marked by a diamond, and one to three to each of the others." caption="Fourteen programs train (left). One is correct; can you tell which? The laws can (right): each of thirteen mistakes sets off one to three of them."
objections = [len(found.keys() & mistakes.LAWS.keys()) for found in alarms.values()]
assert objections[0] == 0 and min(objections[1:]) == 1 and max(objections) == 3
figures.fourteen_losses(objections, programs, runs)

# %% [markdown]
# [Previous: Does a flow posterior give the right answer?](06_real_posteriors.ipynb)
#
# After these 50 minutes **you will be able to**
#
# - name thirteen mistakes that published flow code contains, and the law that catches each;
# - place your checks where they can fail: which law, at which parameters, with which tolerance;
# - tell a mistake from an honest failure of the method: a lost mode, a thin tail, a flow too short, each with symptom, test and cure.
#
# **You need** the evidence lower bound (ELBO) of [the first notebook](01_elbo.ipynb), log-determinants ([the second](02_change_of_variables.ipynb)) and planar and radial layers ([the third](03_flow_composition.ipynb)).
#
# ## What does the program look like when nothing is wrong?
#
# **Forward** means $z_0 \to z_K$, from the base to the flow. The running example is the clock of the first notebook: its reading $x = 2$ is a sum $z_1 + z_2$ of two standard normal errors, plus noise of standard deviation 0.5, so that the posterior and $\ln Z = \ln p(x)$ are known exactly.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $\epsilon \sim N(0, I)$ | noise, drawn outside whatever is differentiated | `eps` |
# | $z_0 = \mu + \sigma\epsilon$, $q_0$ | a draw of the base, with $s = \ln\sigma^2$ | `start`, `log_variance` |
# | $z_K$, $q_K$ | the same draw after three planar and one radial layer | `layers` |
# | $\hat u$, $c = w^\top\hat u$ | constrained $u$; the layer is invertible if $c > -1$ | `u_hat` |
# | $h = \tanh$, $a = w^\top z + b$ | the bend of a planar layer, and where it is | `a_in`, `a_out` |
# | $F$ | free energy, the loss: minus the ELBO | `free_energies` |
#
# The program is [`mistakes.VariationalProgram`](../notebooks/mistakes.py), in plain NumPy and autograd. Its loss is the paper's
#
# <a id="eq-15"></a>
#
# $$
# F(x) = E_{q_0}[\ln q_0(z_0)] - E_{q_0}[\ln p(x, z_K)] - E_{q_0}\Big[\sum_k \ln\lvert \det J_k(z_{k-1}) \rvert\Big] \tag{15}
# $$
#
# - $\ln q_0(z_0)$ minus the sum is $\ln q_K(z_K)$, equation [(7)](03_flow_composition.ipynb#eq-7);
# - $\ln p(x, z_K)$ is the joint density *at the end* of the path, prior included;
# - $J_k(z_{k-1})$ is the Jacobian of layer $k$ *at its input*. (The paper writes it out for planar layers; ours include a radial one.)
#
# Each of the program's methods is one line that somebody has got wrong. A mistake is a subclass that replaces this line and nothing else. Here is the first, and what `run_checks` finds in the correct program: the errors of two popular checks, `loss fell` and `gradient` (autograd against finite differences), and of six laws.

# %%
from inspect import getsource

print(getsource(mistakes.WrongSign))
for check, tolerance in (mistakes.COMMON_CHECKS | mistakes.LAWS).items():
    within = reports["correct"][check] <= tolerance
    print(f"{check:<11} error at most {tolerance:g}: {within}")
    assert within


# %% [markdown]
# Three laws of the map, round trip, log det and mass, are asked at `probe`: parameters far from the identity, where layers bend hard. Bound and new data look at the result of training; finite Z needs the energy alone.
#
# | law | what must hold | error in | function in [checks.py](../nflib_min/checks.py) |
# |---|---|---|---|
# | round trip | $f^{-1}(f(\epsilon)) = \epsilon$ | length | `round_trip_error` |
# | log det | the formula is that of autograd's whole Jacobian | nats | `log_det_by_autodiff` |
# | mass | $\int q_K = 1$ | probability | `total_mass` |
# | bound | ELBO $\le \ln Z$, up to five standard errors | nats | `check_bound` |
# | finite Z | $\int p(x, z)\,dz$ stays the same on a larger window | nats | `mass_growth` |
# | new data | simulated $x$ have the moments of exact ones | standard errors | `moment_gap` |
#
# And the mistakes, all found in published code or posts; we leave the names out, since each is one slip away from any of us. The wrong lines are shortened.
#
# | mistake | the wrong line | the right line |
# |---|---|---|
# | sign of the log-det | `log_q0 + log_det` | `log_q0 - log_det` |
# | log-det at the output | `h'(w @ z_out + b)` | `h'(w @ z_in + b)` |
# | \|w\| for \|w\|^2 | `u + (m(a) - a) * w / norm(w)` | `... / norm(w)**2` |
# | no constraint | `u` | `u_hat` |
# | precedence of ** | `(1 + beta*h)**d - 1 * (...)` | `(1 + beta*h)**(d - 1) * (...)` |
# | det for its log | `sum(det)` | `sum(log(abs(det)))` |
# | epsilon in the log | `log(abs(det) + 1e-6)` | `log(abs(det))` |
# | z_0 for z_K | `log_joint(z_0)` | `log_joint(z_K)` |
# | closed-form KL(q_0) | `KL(q_0, prior) - log_dets` | `log_q0 - log_dets - log_prior(z_K)` |
# | posterior for prior | `x ~ p(x given f(eps))` | `x ~ p(x given eps)` |
# | sigma for ln sigma^2 | `exp(s) * eps` | `exp(s / 2) * eps` |
# | fixed-point inverse | repeat `a = t - c * tanh(a + b)` | halve a bracket around the root |
# | energy without a Z | `log_likelihood(z)` | `log_likelihood(z) + log_prior(z)` |
#
# > **Predict.** Go through the list and write down, for each line, which of the six laws will object. Which mistakes will the falling loss betray?
#
# **A check is a sentence that the right program makes true, with a number for how false it is. The correct program passes all six laws and both popular checks.**
#
# ## Can a determinant be wrong without anybody noticing?
#
# Five mistakes are about the log-determinant as a formula. The law needs no knowledge of it: autograd differentiates the *map*, and the determinant of that matrix is the truth.
#
# <a id="eq-N1"></a>
#
# $$
# \ell(\epsilon) = \ln\left\lvert\det \frac{\partial z_K}{\partial \epsilon}\right\rvert \tag{N1}
# $$
#
# - $\ell(\epsilon)$ is what the program returns as `log_det`, formula by formula;
# - the right side is computed by [`log_det_by_autodiff`](../nflib_min/checks.py) from the points alone, in $O(D^3)$: too slow for training and fast enough for a test.
#
# > **Predict.** An epsilon of $10^{-6}$ inside the logarithm looks harmless. By how much can it move a log-determinant?

# %%
def flip(name):
    """Which checks object to a mistake, and by how much."""
    found = ", ".join(f"{check} {size(error)}" for check, error in alarms[name].items())
    print(f"{name:<22} {found}")


for name in (formulas := [n for n in alarms if "log det" in alarms[n]]):
    flip(name)
assert len(formulas) == 5 and list(alarms["epsilon in the log"]) == ["log det"]

# %% alt="Left, log-determinants along a line: the correct one lies on the autodiff curve, three wrong ones leave it. Right, the error of an epsilon grows to 14 nats as the determinant shrinks." caption="Left: three wrong formulas next to what the map does. Right: the epsilon's error is $10^{-6}/\\det$, until it has swallowed the determinant altogether."
probe, t = programs["correct"].probe(np.random.default_rng(0)), np.linspace(-3, 3, 301)
along = np.stack([t, 0.3 * t], axis=1)
fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
truth = checks.log_det_by_autodiff(programs["correct"], probe, along)
left.plot(t, truth, color="0.8", lw=7, label="autodiff of the map")
colors, styles = [FLOW] + 3 * [LOG_DET], ("-", "--", ":", "-.")
for name, style, color in zip(["correct", *formulas[:3]], styles, colors, strict=True):
    log_det = programs[name].forward_and_log_det(probe, along)[1]
    left.plot(t, log_det, style, color=color, lw=1.8, label=name)
left.set(xlabel=r"position along a line in $\epsilon$", ylabel="log_det, nats", ylim=(-4, 11))
left.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
det = np.geomspace(1e-12, 1, 100)
right.loglog(det, programs["epsilon in the log"].log(det) - np.log(det), color=LOG_DET)
right.set(xlabel="determinant of one layer", ylabel="error of log(det + 1e-6), nats")
show(fig)
assert min(runs, key=lambda name: runs[name].history["loss"][-1]) == "det for its log"

# %% [markdown]
# Four of the five are wrong by a tenth of a nat or more. The loss does not object: it is whatever the formula says. "det for its log" even trains best of all fourteen, because the sum of determinants can grow without limit, and the optimizer finds out.
#
# The epsilon is the quiet one. At `probe` it moves the log-determinant by about $10^{-5}$ nats, and only this law looks there with a tolerance that fine. The error is about $10^{-6}/\det$, so it hides until a layer compresses strongly. There it reaches many nats, and it tells the optimizer that compressing further costs nothing. The same habit in an energy, `log(exp(a) + exp(b) + 1e-10)`, makes the tails flat; use `logaddexp`. With $c > -1$ a planar determinant is positive, and there is nothing to protect (exercise 2).
#
# **A formula for a determinant is tested against the derivative of the map, to rounding. This law alone catches the epsilon, because it compares the log-determinant itself, with a tolerance of $10^{-8}$.**
#
# ## What if the determinant is right and the map is not?
#
# Three mistakes leave every log-determinant exact and break the invertibility that gives it its meaning. Two are about the constraint of appendix A,
#
# <a id="eq-N2"></a>
#
# $$
# \hat u = u + \big[m(w^\top u) - w^\top u\big]\, \frac{w}{\lvert w\rvert^2}, \qquad \text{so that} \quad w^\top\hat u = m(w^\top u) > -1 \tag{N2}
# $$
#
# - $w / \lvert w\rvert^2$ is the vector whose product with $w$ is 1; with $\lvert w\rvert$ in place of $\lvert w\rvert^2$ that product is $\lvert w\rvert$, and the guarantee is gone unless $\lvert w\rvert = 1$: a long $w$ folds a layer too, where $w^\top u > 0$;
# - a library that trains $u$ itself has no guarantee anywhere.
#
# The third is in the inverse. Along $w$ a layer is $a \mapsto a + c\tanh(a + b) = t$; iterating $a \leftarrow t - c\tanh(a + b)$ contracts only if $\lvert c\rvert < 1$.
#
# > **Predict.** Take $\lvert w\rvert = 0.7$ and $w^\top u = -3$. Which of the three maps, correct, $\lvert w\rvert$ and unconstrained, are folded? And why did no loss object to any of them?

# %%
for name in (maps := [n for n in alarms if "round trip" in alarms[n]]):
    flip(name)
w, u, a = np.array([0.7, 0.0]), np.array([-3 / 0.7, 0.0]), np.linspace(-5, 5, 1001)
c = {name: w @ programs[name].u_hat(u, w) for name in ("correct", *maps[:2])}
folded = {n: bool((np.diff(a + c[n] * np.tanh(a)) < 0).any()) for n in c}
print("folded:", folded)
assert all({*alarms[n]} == {"round trip", "mass"} for n in maps)
assert list(folded.values()) == [False, True, True]

# %% alt="Left, the map along w: increasing when constrained, with a fold for each of two mistakes. Right, fixed-point errors that shrink for c below 1 and stay large for c = 2." caption="Left: the constraint keeps the map increasing; both mistakes fold it. Right: the fixed-point inverse converges while the layer is gentle; at $c = 2$ and this point near the bend it jumps for ever."
layers = runs["no constraint"].params
assert (np.sum(layers["u"] * layers["w"], axis=1) > -1).all()  # no fold met in training
for value in (0.5, 0.9, 2.0):  # the gentle ones converge, the steep one jumps for ever
    (root,), z = programs["correct"].root(value, 0.0, np.array([0.5])), 0.5
    for _ in range(40):
        z = 0.5 - value * np.tanh(z)
    assert (abs(z - root) < 0.1) == (value < 1)
figures.folds(a, c, colors, programs, styles)

# %% [markdown]
# Training runs forward only. It never asks for an inverse, so an inverse that fails costs nothing, and a fold is invisible point by point; [notebook 02](02_change_of_variables.ipynb) measured how it inflates the bound. On the clock the layers stay gentle, no fold is met in training, and the program seems fine until somebody's data need a stronger bend. That is why `probe` sets $w^\top u$ to $-2.5$, $2.5$ and $-3$ instead of waiting.
#
# **Round trip and total mass are the laws of the map as a whole. The log-det law, the bound and the loss all pass three programs whose density, as evaluated, does not integrate to 1.**
#
# ## What if the map is right and the loss is not?
#
# The next three programs move their points correctly, and their loss is not [(15)](#eq-15). Here the known evidence helps. Subtracting gives, for the right loss,
#
# <a id="eq-N3"></a>
#
# $$
# F(x) + \ln p(x) = D_{\mathrm{KL}}\big[q_K(z) \,\big\Vert\, p(z \mid x)\big] \ge 0 \tag{N3}
# $$
#
# - $F$ is what the program reports, with whatever line is wrong in it;
# - $\ln p(x)$ is exact for the clock, and known by quadrature or a long reference run for other test models;
# - a right program can stay below the evidence by any amount, and above it by sampling noise only.
#
# > **Predict.** With `z_0` for `z_K` the joint density never sees the flow. What will the optimizer do with the layers, and where does the loss end?

# %% alt="Reported bounds against training step. The correct one rises to the ln Z line and stays below it; the bounds of three wrong losses cross the line and keep rising." caption="A better bound than the evidence is not a success. The correct program stops at $\\ln Z$; three wrong losses cross it and go on."
losses = "sign of the log-det", "z_0 for z_K", "closed-form KL(q_0)"
for name in losses:
    flip(name)
    assert "bound" in alarms[name] and "log det" not in alarms[name]
assert list(alarms["z_0 for z_K"]) == list(alarms["closed-form KL(q_0)"]) == ["bound"]
figures.bounds_above(colors, losses, programs, runs, styles)

# %% [markdown]
# Each wrong loss is a free lunch. With `z_0` for `z_K` stretching raises the log-determinant and nothing pulls back. With the closed-form $D_{\mathrm{KL}}[q_0 \Vert p]$ the prior judges $z_0$ while the likelihood judges $z_K$, so the layers may leave the prior behind; it is an easy slip, because without a flow that closed form is right, and it is how variational autoencoders begin. With the wrong sign a collapse counts as spreading; this one the mass sees too, since $q_K$ itself is computed with the sign. The other two have an impeccable map, and no law of the map can object.
#
# **Train on a model whose evidence is known, and look for a bound above it. Where the map is right and the loss is wrong, this is the only law that speaks.**
#
# ## What if the flow is right and its use is not?
#
# > **Predict.** Two programs are left. One has no prior in its energy, the other draws new readings through the trained layers. Which of them has a loss without a floor, and which has a correct loss?

# %%
for name in ("energy without a Z", "posterior for prior"):
    flip(name)
for half in (8.0, 16.0, 32.0):
    flat = checks.mass_growth(programs["energy without a Z"].log_joint, (-half, half))
    print(f"window {half:2.0f} -> {2 * half:2.0f}, without the prior: ln Z grows by {flat:.2f}")
    assert 0.69 < flat < 0.8
old, new = (
    programs[n].new_data(runs[n].params, 20_000, np.random.default_rng(5)).std()
    for n in ("correct", "posterior for prior")
)
print(f"sd of new readings: {old:.1f}; through the posterior's layers: {new:.1f}")
assert abs(old - 1.5) < 0.05 and new < 1.3 and list(alarms["posterior for prior"]) == ["new data"]
assert {*alarms["energy without a Z"]} == {"bound", "finite Z"}

# %% [markdown]
# Without the prior the reading pins down the sum $z_1 + z_2$ and nothing pins down the difference: $p(x \mid z)$ is a ridge of infinite length, $Z$ is infinite, and $F$ has no floor. Each doubling of the window adds about $\ln 2$, the mark of one coordinate without an end. The paper's own $U_2$, $U_3$ and $U_4$ are of this kind ([notebook 03](03_flow_composition.ipynb) gives them walls). A bound above the evidence gives it away as well, but only if there *is* an evidence to compare with; `mass_growth` needs none.
#
# The last program is right in every line that training touches. Its mistake is to think that the flow belongs to the model. It does not: the model is $z \sim p(z)$, then $x \sim p(x \mid z)$; the flow answers what $z$ was, *given* one $x$. New data take $z$ from the prior. Only a comparison of simulated readings with exact ones can tell, and `moment_gap` compares their means and second moments in standard errors.
#
# **Two laws do not look at the flow at all: is there a $Z$, and do simulated data look like the model's? Each catches a mistake to which a law of the map is blind.**
#
# ## Who notices what?

# %%
columns = {check: max(len(check), 5) + 1 for check in mistakes.COMMON_CHECKS | mistakes.LAWS}
print(" " * 21 + "".join(f"{check:>{width}}" for check, width in columns.items()))
for name, found in alarms.items():
    cells = ((size(found[c]) if c in found else ".", width) for c, width in columns.items())
    print(f"{name:<21}" + "".join(f"{cell:>{width}}" for cell, width in cells))
caught = {check: {n for n in alarms if check in alarms[n]} for check in columns}
assert not alarms["correct"] and all(alarms[name] for name in mistakes.MISTAKES)
assert not any(caught[check] for check in mistakes.COMMON_CHECKS)

# %% [markdown]
# Thirteen of thirteen, with the size of each alarm, and two empty columns. (Above 10 the exact size means little: a run that diverges ends elsewhere on every computer.) "The loss went down" holds for all fourteen programs, and so does "the gradient is right", because both ask whether the optimizer is doing its work. It is; it minimizes the wrong thing. Neither is useless, and neither is about flows.
#
# How few laws would do? Some mistakes have one witness only, and a test suite without this witness is blind to them.

# %%
alone = {n: next(iter(found)) for n, found in alarms.items() if len(found) == 1}
for name, law in alone.items():
    print(f"{name:<20} is noticed by '{law}' alone")
needed = {*alone.values()}
rest = [n for n in mistakes.MISTAKES if not needed & {*alarms[n]}]
print("left over:", ", ".join(rest))
assert needed == {"log det", "bound", "new data"}
assert all({"mass", "round trip"} <= {*alarms[name]} for name in rest)

# %% [markdown]
# So four laws suffice for these thirteen: log det, bound, new data, and either mass or round trip. `finite Z` is the one to have when no evidence is known. In [tests/test_mistakes.py](../tests/test_mistakes.py) this table is a test: break a law, and it fails. Testing tests by planted mistakes is called mutation testing.
#
# **Different laws see different mistakes, and four of them see all thirteen. "The loss went down" sees none.**
#
# ## Where did the other half go?
#
# From here on nothing is wrong with the program; the library's own `Flow` and `Planar` do the work. What can go wrong now is the method: minimizing the *reverse* divergence $D_{\mathrm{KL}}[q \Vert p]$ over flows of finite length. First, a target of two islands, equal Gaussians ten standard deviations apart, with $Z = 1$.

# %%
from nflib_min import Target, cosine_decay, fit, table_1, weights

AWAY = 5.0  # the islands lie at z_1 = 5 and z_1 = -5


def both(z):  # ln p and its gradient
    log_p = np.logaddexp(AWAY * z[:, 0], -AWAY * z[:, 0]) - np.log(4 * np.pi) - AWAY**2 / 2
    pull = np.array([AWAY, 0.0]) * np.tanh(AWAY * z[:, :1])
    return log_p - 0.5 * np.sum(z**2, axis=1), pull - z


islands = Target(lambda z: both(z)[0], 2, gradient=both, log_normalizer=0.0)
assert abs(checks.total_mass(islands.log_prob, (-12, 12)) - 1) < 1e-9


# %% [markdown]
# Let $q$ match the target on a part $A$ of the plane, one of the islands say, and be 0 elsewhere. Then $q = p / p(A)$ wherever $q$ has draws, and
#
# <a id="eq-N4"></a>
#
# $$
# D_{\mathrm{KL}}[q \Vert p] = E_q\!\left[\ln \frac{q}{p}\right] = -\ln p(A) \tag{N4}
# $$
#
# - $p(A)$ is the mass kept: the target's probability of the part that $q$ covers;
# - for one of two equal modes $p(A) = \tfrac12$, and the divergence is $\ln 2 = 0.693$ nats;
# - the value is finite, flat in every parameter, and looks like any other converged run.
#
# > **Predict.** Four ways to start: a standard normal in the middle, or one around a random place, with or without annealing, equation [(20)](03_flow_composition.ipynb#eq-20). Which of them lose an island? Do runs that lose it report different bounds?

# %%
def train(flow, target, steps, seed, away=0.0, annealed=False, log_scale=0.0):
    """Adam on the free energy, from a start at a random place `away` sds from the middle."""
    start = flow.init(rng := np.random.default_rng(seed))
    start[0] = {"mean": away * rng.standard_normal(2), "log_scale": np.full(2, log_scale)}
    start[1]["b"] *= 2  # bends further out than usual: easier to lose an island
    beta = (lambda t: min(1.0, 0.01 + 2 * t / steps)) if annealed else None
    loss = objectives.FreeEnergy(flow, target, batch=100, annealing=beta)
    return fit(loss, start, steps, rng, learning_rate=cosine_decay(1e-2, steps)).params


# %%
def planar_flow(K):
    return Flow(StandardNormal(2), Chain([Affine(2), Planar(2, length=K)]))


def kl(params, flow, target):
    return objectives.kl_to_target(params, flow, target, 20_000, np.random.default_rng(9))[0]


eight, starts = planar_flow(8), [(away, cool) for away in (0.0, 3.0) for cool in (False, True)]
fits = {s: [train(eight, islands, 1200, seed, *s) for seed in range(5)] for s in starts}
ends = {s: np.array([kl(params, eight, islands) for params in fits[s]]) for s in starts}
assert np.abs(ends[3.0, False] - np.log(2)).max() < 0.01 and np.ptp(ends[0.0, False]) > 0.2
assert max(ends[0.0, True].max(), ends[3.0, True].max()) < 0.2

# %%
lost = fits[3.0, False]
draws = [eight.sample(params, 5000, np.random.default_rng(s)) for s, params in enumerate(lost)]
sides = "".join("+" if z[:, 0].mean() > 0 else "-" for z in draws)
agree = np.ptp(ends[3.0, False]) < 0.02
print("island of each lost run:", sides, "- bounds within 0.02 of each other:", agree)
print("moments of two lost runs agree:", checks.moment_gap(draws[0], draws[2]) < 5)
assert sides[0] != sides[2] and checks.moment_gap(draws[0], draws[2]) > 100
z = np.concatenate([draws[0], draws[2]])  # one mixture of two lost runs
log_q = np.logaddexp(*(eight.log_prob(lost[s], z) for s in (0, 2))) - np.log(2)
print("KL of the mixture of the two below 0.02:", (log_q - islands.log_prob(z)).mean() < 0.02)
narrow = [train(eight, islands, 1200, seed, 3.0, True, log_scale=-2.0) for seed in range(2)]
print("annealed from a narrow start, KL above 0.6:", [kl(p, eight, islands) > 0.6 for p in narrow])
assert abs((log_q - islands.log_prob(z)).mean()) < 0.02 and agree
assert min(kl(params, eight, islands) for params in narrow) > 0.6

# %% alt="Left two islands, in the middle a flow that covers one of them, right the divergences of twenty runs by start. From random places without annealing all lie on the line ln 2." caption="One island lost costs $\\ln 2$, whatever the seed. The start and the annealing decide; the length of the flow and the optimizer are the same in all twenty runs."
figures.islands(eight, ends, islands, lost, starts)

# %% [markdown]
# The spread over seeds is the warning when there is one: from the middle without annealing the five runs disagree. From random places there is none. All five report the same bound to within 0.02 nats, because the islands are equal, and yet they sit on different islands. Comparing bounds over seeds is therefore not enough; compare *draws*.
#
# - **Symptom:** a flat curve, and a bound that is lower than it could be by $-\ln p(A)$, which nobody knows without $Z$.
# - **Test:** start from several places and ask `moment_gap` about the draws of two runs; with exact draws or a long reference run, the forward divergence.
# - **Cure:** start wide and in the middle; anneal. Neither is a guarantee: the last line above starts so narrow that annealing finds nothing either. What always remains is to mix runs, each weighted by its evidence: two lost runs on different islands make one density with almost no divergence left.
#
# **The reverse divergence charges $-\ln p(A)$ for keeping a part of mass $p(A)$ only and shows no gradient towards it. Two starts that agree on the bound and disagree on the draws are the tell.**
#
# ## Who covers the tails?
#
# A planar layer moves a point by at most $\lvert\hat u\rvert$, since $\lvert\tanh\rvert \le 1$. However long the flow, then,
#
# <a id="eq-N5"></a>
#
# $$
# \lvert z_K - z_0\rvert \le \sum_{k=1}^K \lvert\hat u_k\rvert \tag{N5}
# $$
#
# - a bounded displacement keeps a Gaussian tail Gaussian: $\ln q_K$ falls like $-\lvert z\rvert^2$;
# - if the target falls like a power, the importance weight $w = p/q_K$ grows without limit, and $E_{q_K}[w^2] = \int p^2/q_K$ is infinite.
#
# The target is a Student density with two degrees of freedom, $p(z) = \frac{1}{2\pi}(1 + \lvert z\rvert^2/2)^{-2}$.
#
# > **Predict.** After training the divergence is about 0.05 nats, which is excellent. What happens to the effective sample size (ESS), as a fraction of $n$, when $n$ grows from 1000 to 100,000?

# %%
from nflib_min.planar import constrain


def student(z, nu=2.0):
    """ln p and its gradient for a Student density with nu degrees of freedom in the plane."""
    spread = 1 + np.sum(z**2, axis=1) / nu
    log_p = -np.log(2 * np.pi) - (nu + 2) / 2 * np.log(spread)
    return log_p, -(nu + 2) / nu * z / spread[:, None]


def draw_student(n, rng, nu=2.0):
    return rng.standard_normal((n, 2)) / np.sqrt(rng.chisquare(nu, (n, 1)) / nu)


heavy = Target(lambda z: student(z)[0], 2, gradient=student, log_normalizer=0.0)
tailed = train(eight, heavy, 1500, 0)
z0 = 50 * np.random.default_rng(0).standard_normal((1000, 2))
moved = np.linalg.norm(Planar(2, 8).forward(tailed[1], z0) - z0, axis=1)
most = np.linalg.norm(constrain(tailed[1]["u"], tailed[1]["w"])[0], axis=1).sum()
assert moved.max() <= most and kl(tailed, eight, heavy) < 0.1


# %%
def log_weights(n, rng, share=0.2):
    """Of the flow's draws, and of a mixture of 80 % flow and 20 % heavier tails (nu = 1)."""
    z, wide = eight.sample(tailed, n, rng), draw_student(n, rng, 1.0)
    mixed = np.where(rng.random((n, 1)) < share, wide, z)
    log_q = np.log1p(-share) + eight.log_prob(tailed, mixed)
    log_q = np.logaddexp(log_q, np.log(share) + student(mixed, 1.0)[0])
    return heavy.log_prob(z) - eight.log_prob(tailed, z), heavy.log_prob(mixed) - log_q


sizes, ess = [1000, 3000, 10_000, 30_000, 100_000], weights.effective_sample_size
pairs = [log_weights(100_000, np.random.default_rng(seed)) for seed in range(4)]
flow, mixture = ([[ess(w[:n]) / n for n in sizes] for w in k] for k in zip(*pairs, strict=True))
assert all(w.max() > 3 and mixed.max() < 2 for w, mixed in pairs) and np.min(mixture) > 0.9
assert np.median(flow, axis=0)[-1] < np.median(flow, axis=0)[0] - 0.1
rng = np.random.default_rng(1)
draws = draw_student(100_000, rng), eight.sample(tailed, 100_000, rng)
far = [(np.linalg.norm(z, axis=1) > 6).mean() for z in draws]
print(f"beyond radius 6: the target {far[0]:.2f} of its mass, the flow below 0.02: {far[1] < 0.02}")
assert abs(far[0] - 1 / 19) < 0.004 and far[1] < 0.02

# %% alt="Left, log densities along a ray: the flow leaves the target at about 7 and falls away. Right, effective sample size over n for four seeds: falling for the flow, level for the mixture." caption="Left: the flow is right where it has draws. Right: with more draws the share of effective ones sinks, one far draw at a time; the defensive mixture (dotted) stays level."
figures.tails(eight, flow, heavy, mixture, sizes, tailed)

# %% [markdown]
# - **Symptom:** none in the bound, since $q$ has next to no draws where it is wrong. One draw of the target in nineteen lies beyond radius 6; of the flow's, fewer than one in a hundred.
# - **Test:** the ESS as a fraction of $n$, at growing $n$ and over seeds. It should level off; where $E[w^2]$ is infinite it sinks. A sharper test fits a generalised Pareto density to the largest weights; its shape, called $\hat k$, says whether the weights can be used at all (below 0.7 they can). ArviZ has it.
# - **Cure:** a base with heavy tails, a change of variables that gives the target light ones, or, without retraining, a *defensive mixture*: with a fifth of the draws from something wider the weights are bounded, and the ESS stays above 90 %.
#
# **Planar flows keep the tails of their base. The bound does not mind, importance weights do: watch the effective sample size as n grows, and mix in something wide.**
#
# ## Is it stuck, or is it too short?
#
# > **Predict.** A flow with two layers has stopped improving on $U_2$, the sine ridge. Will three times the steps help? Another seed? Four times the layers?

# %%
sine, gaps = table_1("U2"), {2: [], 8: [], 16: []}
for K, steps, seeds in ((2, 1500, 3), (2, 4500, 1), (8, 1500, 3), (16, 1500, 3)):
    fitted = [train(planar_flow(K), sine, steps, i, annealed=True) for i in range(seeds)]
    gaps[K] += [kl(params, planar_flow(K), sine) for params in fitted]
best = {K: min(gaps[K]) for K in gaps}
print("best of K = 2 above 0.5, of 8 below 0.4:", best[2] > 0.5, best[8] < 0.4)
print("every run of K = 16 below 0.1:", max(gaps[16]) < 0.1)
assert best[2] > 0.5 > 0.4 > best[8] > 0.1 > max(gaps[16]) and np.ptp(gaps[8]) > 0.1

# %% [markdown]
# - **Symptom:** a gap that no seed closes and more steps do not move.
# - **Test:** vary one thing at a time, and compare the *best* of several seeds. What differs between seeds is optimization: at K = 8 the three runs lie more than 0.1 nats apart, with nothing changed but the start. What the best seed cannot reach, and a longer flow can, is capacity.
# - **Cure:** more layers, at linear cost, or a richer kind of layer. No theorem promises that planar layers in a fixed dimension will do; the paper claims universality for infinitesimal flows only.
#
# **Optimization shows in the spread over seeds, capacity in the best of them: it yields to K, and to neither seeds nor steps.**
#
# ## Exercises
#
# Each check says "not attempted", "correct", or what went wrong.
#
# ### Exercise 1: Which mistake is it?
#
# Four reports on programs like ours, each with the alarms of the six laws. A: `log det` 2e-5, all else silent. B: `round trip` 3, `mass` 0.8; the formula of the log-determinant agrees with autodiff, and the constraint is in place, with $c = 1.7$. C: `bound` 4, all else silent, and the bound rises as the layers stretch, however far. D: `mass` 1.4, `bound` 12, `log det` silent. Set `answer` to a list of four words, for A to D, out of `"sign"`, `"epsilon"`, `"z_0"`, `"fold"`, `"fixed point"`, `"no prior"`.

# %% tags=["exercise"]
answer = None  # your turn

# %% tags=["check"]
right = {"A": "epsilon", "B": "fixed point", "C": "z_0", "D": "sign"}
hints = {"A": "A: which mistake is too small for every law but the strictest?"}
hints["B"] = "B: with c > -1 the map is one-to-one, so who failed to come home?"
hints["C"] = "C: the map is fine and Z is finite: where does the joint look?"
hints["D"] = "D: the log-det itself is right; what is done with it afterwards?"
given = [str(word).strip().lower() for word in answer or []]
wrong = [hints[k] for k, said in zip(right, given, strict=False) if said != right[k]]
wrong += ["expected four words, one for each report"] if len(given) != 4 else []
print("not attempted" if answer is None else [*wrong, "correct"][0])


# %% [markdown]
# ### Exercise 2: What belongs in place of epsilon?
#
# Write the log-determinant of a planar layer, $\ln(1 + c\,(1 - h^2))$, so that it stays right as $c \to -1$. You are given $1 + c$ itself, which the constraint can compute without cancellation, for instance $10^{-20}$; in floating point $c$ is then exactly $-1$. Use neither an epsilon nor `abs`.

# %% tags=["exercise"]
def log_det(c_plus_1, h):
    """ln(1 + c (1 - h^2)) from 1 + c > 0 and h = tanh(a), arrays of one shape."""
    return None  # your turn


# %% tags=["check"]
c_plus_1, h = np.array([1e-20, 1e-20, 0.5, 3.0]), np.array([0.0, 1e-9, 0.3, -0.8])
exact = np.log(c_plus_1 * (1 - h**2) + h**2)
with np.errstate(all="ignore"):  # 1 - 1 = 0, and its logarithm
    naive = np.log(1 + (c_plus_1 - 1) * (1 - h**2))
verdicts = {"correct": exact, "det itself: take the logarithm": np.exp(exact)}
verdicts["1 - (1 - h^2) cancels: multiply out before you subtract"] = naive
wrong_c = np.log(1 + c_plus_1 * (1 - h**2))
verdicts["1 + c is given: the determinant uses c = c_plus_1 - 1"] = wrong_c
verdicts["c and 1 + c have changed places"] = np.log(c_plus_1 + h**2)
given = log_det(c_plus_1, h)
found = ["expected one value for each layer, shape (4,)"] if np.shape(given) != (4,) else []
found = found or [t for t, v in verdicts.items() if np.allclose(given, v, equal_nan=True)]
found += ["expected ln(1e-20) = -46.05 first: was something added?"] if not found else []
print("not attempted" if given is None else found[0])


# %% [markdown]
# ### Exercise 3: How large were the islands?
#
# A target has two islands far apart, of different mass, and $\ln Z$ is *not* known. Runs from many starts end at two different bounds only, `elbo_1` and `elbo_2`, and each run covers one island perfectly. Return the mass fraction of the first island, and $\ln Z$.

# %% tags=["exercise"]
def masses(elbo_1, elbo_2):
    """The fraction of Z on island 1, and ln Z."""
    return None  # your turn


# %% tags=["check"]
given, (e1, e2) = masses(-3.0 + np.log(0.7), -3.0 + np.log(0.3)), -3.0 + np.log([0.7, 0.3])
verdicts = {"correct": (0.7, -3.0), "that is the other island's share": (0.3, -3.0)}
verdicts["a bound is the LOG of an island's mass: exponentiate first"] = (e1 / (e1 + e2), e1 + e2)
verdicts["ln Z is the log of a sum, not of a mean"] = (0.7, -3.0 - np.log(2))
verdicts["the fraction is right; ln Z is the log of the summed masses"] = (0.7, e1)
verdicts["Z is right; now take its logarithm"] = (0.7, np.exp(-3.0))
hits = [t for t, v in verdicts.items() if given is not None and np.allclose(given, v)]
print("not attempted" if given is None else [*hits, "not yet: use (N4) for each run"][0])

# %% [markdown]
# ## Break it: can a check be broken, too?
#
# A check is a program, and it can be blind because it is asked in the wrong place. [`check_bijection`](../nflib_min/checks.py) runs the laws of a map, to $10^{-8}$. We ask it about the unconstrained program, first where training starts, then at `probe`. Then two of its laws are asked about all thirteen mistakes at the start, with a forgiving tolerance.

# %%
broken, rng = mistakes.NoConstraint(), np.random.default_rng(0)
eps = rng.standard_normal((100, 2))
checks.check_bijection(broken, broken.init(rng), eps)  # at the start every law holds
try:
    checks.check_bijection(broken, broken.probe(rng), eps)
    raise RuntimeError("the law let a folded map pass")
except AssertionError as error:
    print(str(error).split(", got")[0])
passed = []
for name in mistakes.MISTAKES:
    start = programs[name].init(np.random.default_rng(0))
    log_det = programs[name].forward_and_log_det(start, eps)[1]
    off = np.abs(log_det - checks.log_det_by_autodiff(programs[name], start, eps)).max()
    passed += [name] if max(off, checks.round_trip_error(programs[name], start, eps)) < 0.05 else []
print(len(passed), "of 13 mistakes pass log det and round trip at the start, to 0.05")
assert len(passed) == 11 and "no constraint" in passed

# %% [markdown]
# **Symptom:** a test suite that is always green. Near the identity every log-determinant is close to 0, so its sign, its place of evaluation and its constraint hardly matter, and a tolerance that forgives a little forgives nearly all: eleven of our thirteen mistakes. **Cure:** test at parameters where each line makes a difference, to rounding where rounding is the only excuse, and plant mistakes to see the tests fail.
#
# ## What to remember
#
# - A falling loss and a right gradient say that the optimizer works. All thirteen mistakes have both.
# - Log det against autodiff; round trip and mass; bound against a known evidence; simulated data against exact: four laws, thirteen mistakes.
# - A bound above $\ln Z$ is a mistake, never a success.
# - Ask the laws far from the identity, and plant mistakes to see them bite.
# - Honest failures: a lost mode costs minus the logarithm of the mass that is kept, $\ln 2$ for one of two; a thin tail costs effective sample size; a short flow costs a gap that no seed closes.
#
# | failure | symptom | test | cure |
# |---|---|---|---|
# | lost mode | none in one run | draws of runs from several starts | wide start, annealing, mixture of runs |
# | thin tails | none in the bound | ESS / n against n, $\hat k$ | heavy base, defensive mixture |
# | too short | a gap that no seed closes | vary K, best of seeds | more or richer layers |
#
# ## In practice
#
# | here | elsewhere |
# |---|---|
# | log det against autodiff | `torch.autograd.functional.jacobian` or `jax.jacfwd` with `slogdet`; TensorFlow Probability's `bijector_test_util` |
# | gradient check | `torch.autograd.gradcheck`, `jax.test_util.check_grads`: right for your own derivatives, silent about a wrong loss |
# | new data | simulation-based calibration; posterior predictive checks of PyMC, NumPyro and Stan |
# | effective sample size, $\hat k$ | ArviZ, `psislw`; Stan's Pathfinder warns of a large $\hat k$ |
# | planted mistakes | mutation testing: `mutmut` for Python |
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), *Variational inference with normalizing flows*, ICML, arXiv:1505.05770: the loss is eq. (15), the layers eqs. (10)-(14), annealing eq. (20), the constraint appendix A.
# - J. Geweke (2004), *Getting it right: joint distribution tests of posterior simulators*, Journal of the American Statistical Association 99: compare moments of two simulators of one law, the idea behind `moment_gap`.
# - S. Talts, M. Betancourt, D. Simpson, A. Vehtari and A. Gelman (2018), *Validating Bayesian inference algorithms with simulation-based calibration*, arXiv:1804.06788: the same idea for whole posteriors, by ranks.
# - Y. Yao, A. Vehtari, D. Simpson and A. Gelman (2018), *Yes, but did it work? Evaluating variational inference*, ICML: $\hat k$ as the judge of a variational fit, with its threshold of 0.7.
# - P. Jaini, I. Kobyzev, Y. Yu and M. Brubaker (2020), *Tails of Lipschitz triangular flows*, ICML: why flows with bounded slopes keep the tails of their base.
# - T. Hesterberg (1995), *Weighted average importance sampling and defensive mixture distributions*, Technometrics 37: the mixture that bounds the weights.
# - R. A. DeMillo, R. J. Lipton and F. G. Sayward (1978), *Hints on test data selection: help for the practicing programmer*, Computer 11: mutation testing, the reason for `tests/test_mistakes.py`.
