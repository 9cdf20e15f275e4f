"""Spectral normalisation by stateful power iteration (Miyato et al. 2018, appendix A)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def _unit(x: Float[Array, " n"], epsilon: float) -> Float[Array, " n"]:
    return x / (jnp.linalg.norm(x) + epsilon)


class SpectralNorm(nn.Module):
    """W -> W / sigma(W): a reparametrisation for the layers of `jaxgan.nn.layers`.

    State, in the collection "spectral": `u` [rows] and `v` [columns], the estimates of the leading
    singular vectors, and `sigma`, the estimate of the last power iteration. The iteration runs
    exactly when that collection is mutable, so the caller decides when `u` moves; otherwise the
    stored vectors are used. sigma = u^T W v lets gradients through W only.

    Attributes:
        axis: kernel axis that counts the matrix's rows; all others form the columns. -1 is the
            output axis of a kernel (PyTorch, Chainer); for an embedding [n, d], 0 gives u length n.
        iterations: power iterations each time.
        epsilon: added to the norms that vectors are divided by.
    """

    axis: int = -1
    iterations: int = 1
    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, kernel: Float[Array, "..."]) -> Float[Array, "..."]:
        """Kernel of any rank, divided by its leading singular value; float32."""
        matrix = jnp.moveaxis(kernel.astype(jnp.float32), self.axis, 0)
        matrix = matrix.reshape(matrix.shape[0], -1)

        # Any start does that the weights do not know; random ones take seconds to compile.
        u = self.variable("spectral", "u", lambda: _unit(jnp.ones(matrix.shape[0]), 0.0))
        v = self.variable("spectral", "v", lambda: jnp.zeros(matrix.shape[1]))
        sigma = self.variable("spectral", "sigma", lambda: jnp.ones(()))
        if self.is_mutable_collection("spectral"):
            fixed = jax.lax.stop_gradient(matrix)

            def iterate(_: int, vectors: tuple[Array, Array]) -> tuple[Array, Array]:
                right = _unit(fixed.T @ vectors[0], self.epsilon)
                return _unit(fixed @ right, self.epsilon), right

            # A fresh u says nothing: start from an estimate, as PyTorch's parametrisation does.
            count = self.iterations + 15 * self.is_initializing()
            u.value, v.value = jax.lax.fori_loop(0, count, iterate, (u.value, v.value))
        estimate = jax.lax.stop_gradient(u.value) @ matrix @ jax.lax.stop_gradient(v.value)
        if self.is_mutable_collection("spectral"):
            sigma.value = jax.lax.stop_gradient(estimate)
        return kernel / estimate
