import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan.cpu import with_plain_convolutions
from jaxgan.nn import resample

PLAIN = lax.conv_dimension_numbers((1,) * 4, (1,) * 4, ("NHWC", "HWIO", "NHWC"))


def convolutions(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive is lax.conv_general_dilated_p:
            yield equation.params["dimension_numbers"]
        for inner in jax.tree.leaves(list(equation.params.values())):
            if hasattr(inner, "jaxpr"):
                yield from convolutions(inner.jaxpr)


def test_gradients_of_gradients_have_plain_convolutions_and_the_same_values(rng):
    def gradient(kernels, x):
        def score(x):
            h = jax.nn.leaky_relu(resample.conv(x, kernels[0], stride=2, padding=1))
            h = jax.jit(jnp.tanh)(resample.conv_up(h, kernels[1]))
            return resample.conv(h, kernels[2], stride=2).sum()

        return jnp.square(jax.grad(score)(x)).sum()

    gradient = jax.grad(gradient)
    kernels = [rng.normal(size=s).astype(np.float32) for s in ((4, 4, 3, 5), (3, 3, 5, 4))]
    kernels.append(rng.normal(size=(3, 3, 4, 2)).astype(np.float32))
    x = rng.normal(size=(2, 8, 12, 3)).astype(np.float32)
    plain = with_plain_convolutions(gradient)
    found = [set(convolutions(jax.make_jaxpr(f)(kernels, x).jaxpr)) for f in (gradient, plain)]
    assert len(found[0]) > 1
    assert found[1] == {PLAIN}
    results = [jax.jit(f)(kernels, x) for f in (gradient, plain)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), *results)
