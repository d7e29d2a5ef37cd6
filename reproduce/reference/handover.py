r"""How a NumPyro or PyMC model becomes a `Target`, shown on eight schools and checked against ours.

Both have compiled their own ln p~ and gradient on the unconstrained space, Jacobians included; what
is left is to ask for it at all n rows of z at once. In an environment of its own:

    python3 -m venv .venv-reference
    .venv-reference/bin/pip install numpyro==0.22.0 jax==0.10.2 pymc==5.28.5 -e .
    .venv-reference/bin/python -m reproduce.reference.handover

The order of the coordinates is the host's: NumPyro sorts sites by name, PyMC keeps the model's.
"""

import numpy as np

from nflib_min import Affine, Flow, StandardNormal
from nflib_min.objectives import FreeEnergy, elbo
from nflib_min.targets import Target, eight_schools
from nflib_min.targets.eight_schools import EFFECTS, ERRORS
from nflib_min.training import fit


def target_from_numpyro(model, *arguments) -> Target:
    """A NumPyro model, called with its arguments, as a `Target` (float64: numpyro.enable_x64())."""
    import jax
    from jax.flatten_util import ravel_pytree
    from numpyro.infer.util import initialize_model

    info = initialize_model(jax.random.PRNGKey(0), model, model_args=arguments)
    start, unravel = ravel_pytree(info.param_info.z)
    one = jax.value_and_grad(lambda z: -info.potential_fn(unravel(z)))
    rows = jax.jit(jax.vmap(one))

    def both(z):
        value, gradient = rows(z)
        return np.asarray(value), np.asarray(gradient)

    return Target(lambda z: both(z)[0], start.size, gradient=both, name="NumPyro model")


def target_from_pymc(model) -> Target:
    """A PyMC model as a `Target`: its value variables, in order, are the coordinates of z."""
    import pytensor
    import pytensor.tensor as pt
    from pymc.pytensorf import join_nonshared_inputs
    from pytensor.graph.replace import vectorize_graph

    start = model.initial_point()
    [value], row = join_nonshared_inputs(start, [model.logp()], model.value_vars)
    z = pt.matrix("z")
    outputs = vectorize_graph([value, pt.grad(value, row)], {row: z})
    both = pytensor.function([z], outputs)
    dim = sum(array.size for array in start.values())
    return Target(lambda z: both(z)[0], dim, gradient=both, name="PyMC model")


def numpyro_eight_schools():
    import numpyro
    from numpyro import distributions as d

    mu = numpyro.sample("mu", d.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", d.HalfCauchy(5.0))
    theta = numpyro.sample("theta", d.Normal(mu, tau).expand([8]).to_event(1))
    numpyro.sample("y", d.Normal(theta, ERRORS), obs=EFFECTS)


def pymc_eight_schools():
    import pymc as pm

    with pm.Model() as model:
        mu = pm.Normal("mu", 0.0, 5.0)
        tau = pm.HalfCauchy("tau", 5.0)
        theta = pm.Normal("theta", mu, tau, shape=8)
        pm.Normal("y", theta, ERRORS, observed=EFFECTS)
    return model


def main() -> None:
    import numpyro

    numpyro.enable_x64()
    ours = eight_schools(centred=True)
    flow = Flow(StandardNormal(10), Affine(10))
    z = np.random.default_rng(0).standard_normal((1000, 10))
    value, gradient = ours.log_density_and_grad(z)
    for theirs in (
        target_from_numpyro(numpyro_eight_schools),
        target_from_pymc(pymc_eight_schools()),
    ):
        got_value, got_gradient = theirs.log_density_and_grad(z)
        # PyMC's constants are good to 1e-7
        np.testing.assert_allclose(got_value, value, rtol=0, atol=1e-6)
        np.testing.assert_allclose(theirs.log_density(z), value, rtol=0, atol=1e-6)
        np.testing.assert_allclose(got_gradient, gradient, rtol=0, atol=1e-9)
        bounds = []
        for target in (ours, theirs):
            rng = np.random.default_rng(0)
            fitted = fit(FreeEnergy(flow, target, 64), flow.init(rng), 300, rng, progress=False)
            bounds.append(elbo(fitted.params, flow, target, z))
        np.testing.assert_allclose(bounds[1], bounds[0], rtol=0, atol=1e-5)
        print(f"{theirs}: the same density, gradient and fit (ELBO {bounds[1]:.3f}) as ours")


if __name__ == "__main__":
    main()
