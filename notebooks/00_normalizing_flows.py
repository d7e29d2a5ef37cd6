# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   post:
#     categories:
#     - sample-posts
#     date: '2026-11-18'
#     description: Variational Inference with Normalizing Flows (2015) in ten minutes,
#       with every claim checked
#     tags:
#     - generative_model
#     - math
#     - normalizing-flows
#     title: 'Normalizing flows: how good can an approximate posterior get?'
# ---

# %% [markdown]
# # Normalizing flows: how good can an approximate posterior get?
#
# As good as the family of densities that it is chosen from, and a normalizing flow makes that family rich: it starts from a density that is easy to draw from and bends it, one invertible map after another, while its value stays known exactly.
#
# The paper: [Variational Inference with Normalizing Flows](https://arxiv.org/abs/1505.05770) (Rezende and Mohamed, 2015).
#
# A boat in the fog hears a buoy, $x = 2$ km away, give or take 0.4 km. Two channels run from south to north past the buoy, 2 km east and 2 km west of it, and boats stay in them within about 0.6 km. Where is the boat? The answer is a probability density, the left picture: two crescents. The others approximate it by an independent Gaussian and by a flow.

# %% tags=["setup", "hide-input"]
import autograd.numpy as anp
import numpy as np
from autograd import jacobian
from scipy.optimize import minimize
from scipy.stats import norm

from nflib_min import Affine, Chain, Flow, Planar, StandardNormal, checks, objectives, targets
from nflib_min.training import cosine_decay, fit
from notebooks.figures import normalizing_flows as figures

# %% tags=["hide-input"] alt="Three density maps around a buoy. The posterior is two crescents, east and west; the Gaussian is one straight blob on one of them and loses 0.90 nats; the flow has both crescents and loses about 0.01." caption="What the reading says, the best independent Gaussian, and a flow of 16 planar layers. The cross is the buoy; brightness is density. How much each loses is $D_{\\mathrm{KL}}[q \\,\\Vert\\, p(z \\mid x)]$, defined below."
p = targets.table_1("U1")  # the first test density of the paper's table 1
q_0 = StandardNormal(2)


def gaussian(phi):
    return targets.Gaussian(phi[:2], np.diag(np.exp(2 * phi[2:])))


def loss_of(phi):
    return checks.kl_by_quadrature(gaussian(phi).log_prob, p.log_prob)


best = gaussian(minimize(loss_of, [1.5, 0.0, -1.0, 0.0], tol=1e-3).x)
flow, rng = Flow(q_0, Chain([Affine(2), Planar(2, length=16)])), np.random.default_rng(0)
loss = objectives.FreeEnergy(
    flow, p, batch=256, annealing=lambda t: objectives.inverse_temperature(t, 1000)
)
params = fit(loss, flow.init(rng), 4000, rng, learning_rate=cosine_decay(1e-2, 4000)).params
log_q = {"independent Gaussian": best.log_prob, "flow": lambda z: flow.log_prob(params, z)}
lost = {name: checks.kl_by_quadrature(of, p.log_prob) for name, of in log_q.items()}
figures.three_beliefs(p, log_q, lost)

# %% [markdown]
# After these 10 minutes you will be able to
#
# 1. say what variational inference loses by a simple $q$, in nats;
# 2. derive the density of a flow and the loss that trains it, each in two lines;
# 3. say what makes a layer cheap, what an infinitely long flow is, and where each story is told in full.
#
# You need Bayes' rule, determinants and Gaussian densities. Next: [How good is a lower bound?](01_elbo.ipynb)
#
# ## What is the problem?
#
# We observe $x$; what we want to know, here the position $z$, is hidden. Bayes' rule gives the posterior $p(z \mid x) = p(x, z) / p(x)$, and its denominator is an integral over every $z$ that could have produced $x$. In two dimensions a grid can do that, in forty no grid can. Variational inference turns the integral into a search: choose a density $q$ that you can draw from, and multiply and divide by it. Since the logarithm is concave, the mean of a logarithm is never above the logarithm of the mean (Jensen's inequality):
#
# <a id="eq-3"></a>
#
# $$
# \begin{aligned}
# \ln p_\theta(x) &= \ln \mathbb{E}_q\!\left[\frac{p_\theta(x, z)}{q_\phi(z \mid x)}\right] \ge \mathbb{E}_q\!\left[\ln \frac{p_\theta(x, z)}{q_\phi(z \mid x)}\right] \\
# &= -D_{\mathrm{KL}}\big[q_\phi(z \mid x) \,\big\Vert\, p(z)\big] + \mathbb{E}_q\big[\ln p_\theta(x \mid z)\big] = -F(x)
# \end{aligned} \tag{3}
# $$
#
# - $p_\theta(x, z) = p_\theta(x \mid z)\, p(z)$: the model, likelihood times prior, with parameters $\theta$;
# - $q_\phi(z \mid x)$: the approximate posterior, with parameters $\phi$;
# - $D_{\mathrm{KL}}[q \Vert p] = \mathbb{E}_q[\ln q - \ln p] \ge 0$: the Kullback-Leibler divergence, measured in nats, the unit of a natural logarithm, and 0 only if the two are equal;
# - $-F(x)$: the evidence lower bound (ELBO). Training raises it, in $\phi$ and in $\theta$.
#
# How far below $\ln p(x)$ is it? Put $p(x, z) = p(z \mid x)\, p(x)$ into the first line:
#
# <a id="eq-N1"></a>
#
# $$
# \ln p_\theta(x) - \big(-F(x)\big) = D_{\mathrm{KL}}\big[q_\phi(z \mid x) \,\big\Vert\, p_\theta(z \mid x)\big] \tag{N1}
# $$
#
# So the bound is as good as $q$ is close to the true posterior, and it is exact only if $q$ *is* the posterior. More about the bound, and about what its gap does to a model: [01](01_elbo.ipynb).
#
# ## Why is a simple q not enough?
#
# The usual choice is a Gaussian with independent coordinates, because it is easy. It cannot lean, it cannot bend, and it has one peak.
#
# > **Predict.** The boat is in one of two equal crescents. Will the best independent Gaussian cover both or one, and how many nats does it lose?
#
# No optimizer is needed to find out. If $q(z) = q_a(z_{\text{east}})\, q_b(z_{\text{north}})$, then $\mathbb{E}_q[U]$ on a grid is $q_a^\top U q_b$, so one product of matrices tries every pair of a long list. The joint density is $p(x, z) = e^{-U(z)}$, up to a constant that does not depend on $z$; what takes the place of $p(x)$ is then its integral $Z$, here with $\ln Z = 1.8775$.

# %%
axis = np.linspace(-8, 8, 321)  # 0.05 km apart, to the east and to the north
z = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
U, ln_Z = -p.log_density(z).reshape(321, 321), p.log_normalizer
mean, sd = np.meshgrid(np.linspace(-3, 3, 61), np.geomspace(0.2, 2.0, 30))
mean, sd = mean.reshape(-1, 1), sd.reshape(-1, 1)
q, entropy = 0.05 * norm.pdf(axis, mean, sd), norm.entropy(mean, sd)
KL = q @ U @ q.T + ln_Z - entropy - entropy.T  # every q_a with every q_b
a, b = np.unravel_index(KL.argmin(), KL.shape)
assert 0.90 < lost["independent Gaussian"] < KL.min() < 0.91
assert abs(mean[a]) > 1.8 and abs(mean[a]) > 5 * sd[a]  # in one channel only
print(f"{KL.size:,} Gaussians, and none loses less than {KL.min():.3f} nats")

# %% [markdown]
# One. The best of all lies between the points of this list, and is the one in Figure 1. Of its 0.90 nats, $\ln 2 = 0.69$ are the price of the other crescent: on its own side the posterior is half a density, and $\mathbb{E}_q[\ln q - \ln \tfrac12 p_1] = \ln 2 + D_{\mathrm{KL}}[q \Vert p_1]$, where $p_1$ is one crescent alone. The rest is that the crescent is not a straight blob. More training does not get it back, nor do more draws: the loss belongs to the family.
#
# **An independent Gaussian loses at least 0.90 nats on this posterior, however it is trained.**
#
# ## What does a map do to a density?
#
# Draw $z_0$ from a density $q_0$ and move it by a smooth invertible map $f$. Mass is moved, never made: what was in a small square around $z_0$ is afterwards in the image of the square. If the map makes areas three times as large there, the density is a third.

# %% tags=["hide-input"] alt="Left, a square grid with two marked squares, A and B, of area 0.64. Right, the grid after a map that pushes it apart in the middle: A is now almost twice as large, B hardly larger." caption="A map and two squares with their areas. Where it pushes space apart, at A, the area nearly doubles, and the density there falls to about half. At B the area grows little: the square is mostly carried along."
u, w, b = np.array([0.8, 0.4]), np.array([1.0, 0.5]), 0.0


def f(z):
    return z + u * anp.tanh(z @ w + b)[..., None]


figures.areas(f)


# %% [markdown]
# Seen from very near, $f$ is the linear map $\partial f / \partial z_0$, which takes a small square of side $\epsilon$ to a parallelogram of area $\epsilon^2 \lvert \det \partial f / \partial z_0 \rvert$. Equal mass before and after, in any dimension:
#
# <a id="eq-5"></a>
#
# $$
# q_1(z_1) = q_0(z_0) \left\lvert \det \frac{\partial f^{-1}}{\partial z_1} \right\rvert = q_0(z_0) \left\lvert \det \frac{\partial f}{\partial z_0} \right\rvert^{-1} \tag{5}
# $$
#
# - $z_1 = f(z_0)$, and $q_1$ is its density (the paper writes $z'$ and $q'$);
# - the factor $q_0(z_0)$ is in both forms; the two determinants are each other's inverse, and each is taken at its own end of the map.
#
# Where the determinant comes from, step by step: [02](02_change_of_variables.ipynb).
#
# ## Which maps are cheap?
#
# The determinant of a $D \times D$ matrix costs $O(D^3)$. The paper's **planar** layer, which drew the picture above, needs only $O(D)$:
#
# <a id="eq-10"></a>
#
# $$
# f(z) = z + u\, h(w^\top z + b), \qquad h = \tanh \tag{10}
# $$
#
# - $w$ and $b$ choose a plane, $w^\top z + b = 0$, and $u$ the direction of the push: forwards on one side of it, backwards on the other.
#
# Its Jacobian is $I + u\, \psi^\top$ with $\psi(z) = h'(w^\top z + b)\, w$. Every vector orthogonal to $\psi$ stays as it is, and $u$ becomes $(1 + \psi^\top u)\, u$. So all eigenvalues are 1 but one (where $\psi^\top u = 0$, all of them), and their product is
#
# <a id="eq-12"></a>
#
# $$
# \left\lvert \det \frac{\partial f}{\partial z} \right\rvert = \big\lvert 1 + u^\top \psi(z) \big\rvert \tag{12}
# $$
#
# Three routes to the same number: the formula, the determinant of the whole Jacobian, and the area of a very small square's image.

# %%
def det(z):
    psi = (1 - np.tanh(z @ w + b) ** 2)[..., None] * w  # (11)
    return 1 + psi @ u  # (12)


rng, side = np.random.default_rng(0), 1e-3
for z in rng.standard_normal((20, 2)):
    assert np.isclose(det(z), np.linalg.det(jacobian(f)(z)), rtol=0, atol=1e-12)
    square = z + side * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    assert np.isclose(det(z), figures.shoelace(f(square)) / side**2, rtol=0, atol=1e-5)
a = np.linspace(-9, 9, 1001)
for wu, one_to_one in [(1.0, True), (-0.9, True), (-1.1, False)]:
    assert (np.diff(a + wu * np.tanh(a + b)) > 0).all() == one_to_one
middle, far = det(np.zeros(2)), det(np.full(2, 9.0))
print(f"areas grow {middle:.2f} times at the middle of A, {far:.2f} times far away")

# %% [markdown]
# **For a planar layer the determinant is one inner product, $O(D)$; the layer is invertible if $w^\top u > -1$.**
#
# The reason: $w^\top z$ then moves along an increasing function, $a \mapsto a + w^\top u \tanh(a + b)$, which the last lines of the cell look at; and when $w^\top z$ is known, so is the push to take back.
#
# ## What do many layers make?
#
# One planar layer can only push along one direction. Put $K$ of them in a row, and [(5)](#eq-5) applies to each:
#
# <a id="eq-6"></a>
#
# $$
# z_K = f_K \circ \dots \circ f_2 \circ f_1(z_0), \qquad z_0 \sim q_0 \tag{6}
# $$
#
# <a id="eq-7"></a>
#
# $$
# \ln q_K(z_K) = \ln q_0(z_0) - \sum_{k=1}^{K} \ln \left\lvert \det \frac{\partial f_k}{\partial z_{k-1}} \right\rvert \tag{7}
# $$
#
# - $z_0, z_1, \dots, z_K$, the path of a point, is the **flow**; $q_0, q_1, \dots, q_K$, the path of its density, is the **normalizing flow**.
#
# What trains it? The free energy of [(3)](#eq-3) is a mean over $q_K$, and a mean over $z_K$ is a mean over the $z_0$ that it comes from. So write $F$ with $q = q_K$ and put [(7)](#eq-7) into it:
#
# <a id="eq-15"></a>
#
# $$
# \begin{aligned}
# F(x) &= \mathbb{E}_{q_K}\big[\ln q_K(z_K) - \ln p(x, z_K)\big] \\
# &= \mathbb{E}_{q_0}\big[\ln q_0(z_0)\big] - \mathbb{E}_{q_0}\big[\ln p(x, z_K)\big] \\
# &\quad - \mathbb{E}_{q_0}\Big[\sum_{k=1}^{K} \ln \big\lvert 1 + u_k^\top \psi_k(z_{k-1}) \big\rvert\Big]
# \end{aligned} \tag{15}
# $$
#
# Draw $z_0$, push it forward, add up the logarithms, follow the gradient. No inverse is computed, and nothing but $\ln p(x, z)$ is asked of the model, not even its normalizer. The flow of Figure 1 is 4,000 steps of this (on a flattened posterior at first, which helps to find both crescents), some ten seconds on one core. Here is [(15)](#eq-15), letter by letter:

# %%
z_0 = q_0.sample(50_000, np.random.default_rng(1))
z_K, sum_ln_det = flow.bijection.forward_and_log_det(params, z_0)  # (6)
ln_q_K = q_0.log_prob(z_0) - sum_ln_det  # (7)
F = np.mean(ln_q_K - p.log_density(z_K))  # (15)
assert np.allclose(ln_q_K, flow.log_prob(params, z_K))  # the same by the inverse
assert abs(checks.total_mass(log_q["flow"]) - 1) < 1e-3  # a density
assert 0 < F + ln_Z < 0.05 and abs(F + ln_Z - lost["flow"]) < 0.01  # (N1)
print("the ELBO is less than 0.05 nats below ln Z, and the gap is the divergence")

# %% tags=["hide-input"] alt="Six columns: a round Gaussian, the flow after 4, 8, 12 and 16 layers, and the posterior. Above densities, below a square grid that is stretched apart step by step until the density has two crescents." caption="The trained flow, stopped on the way: its density above, and below where it takes a square grid (right: draws from the posterior). One affine map, which sets mean and scale, precedes the layers. Mass is pushed, neither cut nor glued."
figures.stages(flow, params, p)

# %% [markdown]
# **Sixteen planar layers come within 0.05 nats of a posterior on which the best independent Gaussian loses 0.90.**
#
# A thread of density is left between the crescents, and has to be: a smooth invertible map cannot tear its base apart. How to train, what can go wrong, and all four densities of the paper: [03](03_flow_composition.ipynb).
#
# ## What if the flow gets infinitely long?
#
# Let every layer move points only by a $K$-th part, $z_{k} = z_{k-1} + \tfrac1K v(z_{k-1}, t)$, and let $K$ grow. The layers become a differential equation, $\dot z = v(z, t)$, and since $\ln \det(I + \tfrac1K A) = \tfrac1K \operatorname{tr} A + O(K^{-2})$, the sum in [(7)](#eq-7) becomes an integral of a trace:
#
# <a id="eq-N2"></a>
#
# $$
# \frac{d}{dt} \ln q_t(z_t) = -\operatorname{tr} \frac{\partial v}{\partial z}(z_t, t) \tag{N2}
# $$
#
# This is an **infinitesimal flow**. If $v$ is Hamiltonian, the trace is 0 and volume is kept. If noise is added to every step, the Fokker-Planck equation takes the place of [(N2)](#eq-N2), and one such flow, Langevin dynamics $dz = -\nabla U\, dt + \sqrt2\, d\xi$, tends to the posterior without any training. So a flow can in principle be as good as we like, the paper argues; for a fixed number of planar layers there is no such theorem. Both flows, followed to the end: [04](04_infinitesimal_flows.ipynb).

# %% tags=["hide-input"]
A = np.random.default_rng(0).standard_normal((5, 5))
for K in (1_000, 10_000):
    determinant = np.linalg.slogdet(np.eye(5) + A / K)[1]
    assert abs(K * determinant - np.trace(A)) < 30 / K

# %% [markdown]
# ## One flow for every x?
#
# With a thousand images to explain, a thousand trainings are too many. An **inference network** takes $x$ and returns the parameters of its $q$: the mean and scale of $q_0$, and every $u_k$, $w_k$ and $b_k$. It is trained once, for all $x$, together with the model's $\theta$, on the sum of [(15)](#eq-15). That is **amortized** inference: the cost is shared. The price is a second gap, since one network cannot give every $x$ the best flow there is. Both gaps, measured: [05](05_amortized_inference.ipynb).
#
# ## What does it buy?
#
# The paper trained a model of handwritten digits (MNIST), 40 hidden variables a digit, with flows of up to 80 layers. Its estimate of $-\ln p(x)$ falls from 89.9 nats without a flow to 85.1 with 80 planar layers. Ours, after a tenth of the training, falls from 91.2 to 88.0: the same shape, not the same numbers. On the four test densities of the paper, where the divergence can be measured in absolute nats, the median over ten seeds is below 0.01 nats at $K = 32$.

# %% tags=["hide-input"] alt="Left, divergence against number of layers on logarithmic axes, four densities and ten dots each: from 0.3 to 0.8 nats at two layers to below 0.03 at 32. Right, two falling curves on MNIST, the paper's below ours." caption="Left: what planar flows leave of the divergence; lines join the medians. (Three of the four densities have no finite integral as printed in the paper; ours have walls.) Right: the paper's table 2 and our shorter training."
from reproduce import results
from reproduce.results import paper

kl = {name: {2: [], 8: [], 32: []} for name in ("U1", "U2", "U3", "U4")}
missed = {2: 0, 8: 0, 32: 0}  # trainings that give a mode of U3 or of U4 under 0.1 of its mass
for run in results.load("fig3"):
    name, K = run["settings"]["target"], run["settings"]["K"]
    if run["settings"]["flow"] == "planar" and K in missed:
        kl[name][K].append(run["values"]["kl"][0])
        missed[K] += name in ("U3", "U4") and min(run["values"]["modes"]) < 0.1
assert all(len(seeds) == 10 for of in kl.values() for seeds in of.values())
assert all(np.median(of[32]) < 0.01 and max(of[32]) < 0.03 for of in kl.values())
assert (missed[2], missed[32]) == (11, 0)
digits = results.models(results.load("mnist"))
ours, printed = results.against_K(digits, "planar", "nll", epochs=80), paper.TABLE_2["planar"]
assert (printed[0], printed[80]) == (89.9, 85.1)
assert [round(ours[K], 1) for K in (0, 80)] == [91.2, 88.0]
figures.evidence(kl, lost["independent Gaussian"], printed, ours)

# %% [markdown]
# A flow is not a guarantee. A short one can leave a whole mode out, and its ELBO will look healthy: on the third and fourth density two layers did so in 11 of 20 trainings, 32 layers in none. Real posteriors, and when to trust the answer: [06](06_real_posteriors.ipynb). Thirteen mistakes that a falling loss does not show: [07](07_when_flows_fail.ipynb). What came after the paper: [08](08_after_2015.ipynb).
#
# ## What to remember
#
# - The ELBO misses $\ln p(x)$ by $D_{\mathrm{KL}}[q \Vert p(z \mid x)]$, and the family of $q$ decides how small that can get.
# - A flow is a rich family with an exact density: $\ln q_K = \ln q_0 - \sum_k \ln \lvert \det \rvert$.
# - Its layers have to be invertible and their determinants cheap; a planar layer's costs $O(D)$.
# - Training needs draws of $z_0$ and $\ln p(x, z)$, no inverse and no normalizer.
#
# ## References
#
# - D. J. Rezende and S. Mohamed (2015), [Variational Inference with Normalizing Flows](https://arxiv.org/abs/1505.05770): the paper. Equations (3), (5)-(7), (10)-(12) and (15) are the ones above; table 1 has the boat's density, table 2 the digits.
# - G. Papamakarios, E. Nalisnick, D. J. Rezende, S. Mohamed and B. Lakshminarayanan (2021), [Normalizing Flows for Probabilistic Modeling and Inference](https://arxiv.org/abs/1912.02762): the review to read next, and what came after planar layers.
