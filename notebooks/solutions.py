"""The solutions of the exercises: notebook -> exercise number -> the cell that replaces the stub.

The tests put each one in its notebook's place and ask the notebook's own check about it.
"""

SOLUTIONS: dict[str, dict[int, str]] = {
    "01_elbo": {
        1: """\
def gap(D, s):
    return 0.5 * (D * np.log(1 + 1 / s**2) - np.log(1 + D / s**2))
""",
        2: 'answer = "B, D"  # below the floors -1.88 and 0',
        3: """\
def with_baseline(log_w, score):
    others = (log_w.sum() - log_w) / (len(log_w) - 1)
    return (log_w - others) * score
""",
        4: """\
def least_variance(precision):
    # p^2 / q is Gaussian with precision 2 Lambda - I / v, which has to be positive definite
    return 0.5 / np.linalg.eigvalsh(precision).min()
""",
    },
    "02_change_of_variables": {
        1: """\
def log_square(z_K):
    z_0 = np.sqrt(z_K)  # and -z_0, with the same share
    log_q_0 = -0.5 * z_0**2 - 0.5 * np.log(2 * np.pi)
    return np.log(2) + log_q_0 - np.log(2 * z_0)
""",
        2: """\
def log_det_radial(r, alpha, beta, d):
    across = 1 + beta / (alpha + r)  # the new radius over the old: how much a circle grows
    along = 1 + alpha * beta / (alpha + r) ** 2  # the derivative of the new radius
    return (d - 1) * np.log(across) + np.log(along)
""",
        3: 'wrong, unseen = "A, B, D", "B"  # B is E[det], and E[det] / E[det] = 1',
        4: "answer = (1.9, 50.0)  # f' falls from 96 to 1 within |z| < 0.1, long before q_0 does",
    },
    "03_flow_composition": {
        1: """\
# on the line w.z + b = 0 the density is divided by 1 + w.u = 21; the line halves the mass if b = 0
answer = ([2.0, 0.0], [10.0, 0.0], 0.0)
""",
        2: """\
def least_kl(C):
    # N(0, I) at the edge of an area v is e^(-v / 2 pi) / 2 pi, and N(0, C) the same with 2 pi rho
    rho = np.sqrt(np.linalg.det(C))
    return np.log(rho) + 1 / rho - 1
""",
        3: """\
def inverse_radius(R, alpha, beta):
    # r (alpha + r) + beta r = R (alpha + r), so r^2 + (alpha + beta - R) r - alpha R = 0
    B = alpha + beta - R
    return (-B + np.sqrt(B**2 + 4 * alpha * R)) / 2
""",
        4: """\
def wrong_log_det(z):
    # tanh is odd, so 1 + tanh / 2 averages to 1 under a density that is even
    return -np.log(1 + np.tanh(z[:, 0]) / 2)
""",
    },
    "04_infinitesimal_flows": {
        1: """\
def y_at(y0, c, t):
    # d/dt sinh(y) = cosh(y) c tanh(y) = c sinh(y)
    return np.arcsinh(np.exp(c * t) * np.sinh(y0))
""",
        2: """\
def quiet_velocity(z, t, s0):
    variance = 1 + (s0**2 - 1) * np.exp(-2 * t)
    return -z + z / variance  # ln q_t = -z^2 / (2 variance) + const
""",
        3: """\
def resting_variance(dt, curvature):
    # v = (1 - curvature dt)^2 v + 2 dt: what a step leaves as it is
    return 2 * dt / (1 - (1 - curvature * dt) ** 2)
""",
        4: """\
def step(z, omega, grad_L, epsilon):
    half = omega - epsilon / 2 * grad_L(z)  # downhill
    z_new = z + epsilon * half  # by the new momentum
    omega_new = half - epsilon / 2 * grad_L(z_new)  # at the new place
    return z_new, omega_new
""",
    },
    "05_amortized_inference": {
        1: """\
def blind(tau):
    # the posterior is N(x / (1 + tau^2), tau^2 / (1 + tau^2)): all widths agree, the means do not,
    # and E_p(x)[(mean of q - mean)^2] is least, 1 / (1 + tau^2), if q has mean 0
    variance_of_means, variance = 1 / (1 + tau**2), tau**2 / (1 + tau**2)
    return variance_of_means / (2 * variance)
""",
        2: """\
def log_evidence_of(log_joint, log_q0, log_det):
    log_w = log_joint - (log_q0 - log_det)
    return np.logaddexp.reduce(log_w) - np.log(len(log_w))
""",
        3: """\
def plateau(m, share):
    # on the first lobe every weight is p(x) (1 - m) / (1 - share); (1 - share)^S = 1/2
    return [np.log((1 - share) / (1 - m)), np.log(0.5) / np.log(1 - share)]
""",
        4: """\
def variances(beta, tau):
    # precisions add; beta multiplies both of them in (20), 1 / beta the likelihood's in the warm-up
    return [1 / (beta * (1 + 1 / tau**2)), 1 / (1 + 1 / (beta * tau**2))]
""",
    },
    "06_real_posteriors": {
        1: """\
from math import comb


def log_coin(z, k, n):
    log_theta, log_rest = -np.log1p(np.exp(-z)), -np.log1p(np.exp(z))
    log_prior = np.log(6) + log_theta + log_rest
    likelihood = np.log(comb(n, k)) + k * log_theta + (n - k) * log_rest
    return log_prior + likelihood + log_theta + log_rest  # d theta / d z = theta (1 - theta)
""",
        2: """\
def weighted(log_w, z):
    top = log_w.max()
    w = np.exp(log_w - top)
    return np.sum(w * z) / np.sum(w), top + np.log(np.mean(w)), np.sum(w) ** 2 / np.sum(w**2)
""",
        3: """\
def tail(rho):
    # precisions of p: 1 / (1 + |rho|) along the ridge; q's variance 1 - rho^2 is 1 - |rho| of that
    return abs(rho)
""",
        4: """\
def unseen(m, a):
    sd = np.sqrt(1 + m * (1 - m) * a**2)  # within the islands, and between them
    return -np.log(1 - m), np.log(1 - m), m * a / sd
""",
    },
    "07_when_flows_fail": {
        1: 'answer = ["pad", "fixed point", "z_0", "sign"]',
        2: """\
def log_det(c_plus_1, h):
    # 1 + c (1 - h^2) = (1 + c) (1 - h^2) + h^2: terms that are never negative
    return np.log(c_plus_1 * (1 - h**2) + h**2)
""",
        3: """\
def program(eps, mean, log_variance, u, w, b):
    z_0 = mean + np.exp(log_variance / 2) * eps
    u_hat = u + (m(w @ u) - w @ u) * w / (w @ w)  # round trip
    h = np.tanh(z_0 @ w + b)
    z_1 = z_0 + h[:, None] * u_hat
    det = 1 + w @ u_hat * (1 - h**2)  # log det
    log_det = log_variance.sum() / 2 + np.log(det)
    log_q = -0.5 * (eps**2).sum(axis=1) - np.log(2 * np.pi) - log_det
    log_prior = -0.5 * (z_1**2).sum(axis=1) - np.log(2 * np.pi)  # bound
    log_likelihood = -2 * (2 - z_1.sum(axis=1)) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))
    return z_1, log_det, log_q - log_likelihood - log_prior
""",
        4: """\
def wrong_log_det(z_0, log_det):
    # the mean of exp(z_0 - 1/2) over N(0, 1) is 1
    return log_det - z_0 + 0.5
""",
    },
    "08_after_2015": {
        1: """\
def log_det_sylvester(U, W, slopes):
    matrices = np.eye(len(W)) + slopes[:, :, None] * (W @ U)  # I + H W U, (n, M, M)
    return np.linalg.slogdet(matrices)[1]
""",
        2: """\
def width(m, s):
    # KL[q || p] + KL[p || q]; the logarithms of s cancel
    return (1 + m**2) / (2 * s**2) + (s**2 + m**2) / 2 - 1
""",
        3: """\
def velocity(z, t, m, s):
    covariance = t * s**2 - (1 - t)  # of z_1 - z_0 and z_t
    variance = (1 - t) ** 2 + t**2 * s**2
    return m + covariance / variance * (z - t * m)
""",
    },
}
