"""Spectral normalisation by stateful power iteration (Miyato et al. 2018, appendix A)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def _start(size: int, count: int = 0) -> Float[Array, "*k n"]:
    """A constant unit vector; with `count`, that many unit cosines, of which it is the first."""
    if not count:
        return jnp.full(size, size**-0.5)
    place, frequency = jnp.arange(size) + 0.5, jnp.arange(count)[:, None]
    cosines = jnp.cos(jnp.pi * frequency * place / size)
    return _orthonormal(cosines, 0.0, cosines)


def _orthonormal(
    x: Float[Array, "*k n"], epsilon: float, before: Float[Array, "*k n"]
) -> Float[Array, "*k n"]:
    """Unit vectors, each without what it shares with those before (Gram-Schmidt).

    A vector of zeros has no direction: what it was `before` stays.
    """
    if x.ndim == 1:
        norm = jnp.linalg.norm(x)
        return jnp.where(norm > 0, x / jnp.where(norm > 0, norm + epsilon, 1), before)
    units: list[Array] = []
    for vector, old in zip(x, before, strict=True):
        for unit in units:
            vector = vector - (vector @ unit) * unit
        units.append(_orthonormal(vector, epsilon, old))
    return jnp.stack(units)


class SpectralNorm(nn.Module):
    """W -> 1 / sigma(W): the factor of a kernel, for the layers of `jaxgan.nn.layers`.

    State, in the collection "spectral": `u` [rows] and `v` [columns], the estimates of the leading
    singular vectors, and `sigma`, the estimate of the last power iteration. The iteration runs
    exactly when that collection is mutable, so the caller decides when `u` moves; otherwise the
    stored vectors are used. sigma = u^T W v passes gradients to W only.

    With k > 1 singular values, all three have a leading axis k, or less where the matrix has fewer.
    Vectors after the first are kept orthogonal to those before; they are for reports alone.

    Attributes:
        axis: kernel axis that counts the matrix's rows; all others form the columns. -1 is the
            output axis of a kernel (PyTorch, Chainer); for an embedding [n, d], 0 gives u length n.
        iterations: power iterations each time.
        epsilon: added to the norms that vectors are divided by.
        singular_values: how many are estimated; the factor is that of the first.
    """

    axis: int = -1
    iterations: int = 1
    epsilon: float = 1e-12
    singular_values: int = 1

    @nn.compact
    def __call__(self, kernel: Float[Array, "..."]) -> Float[Array, ""]:
        """One over the leading singular value of a kernel of any rank; float32.

        Of a kernel of zeros it is 1: there is nothing to divide, and nothing comes of it.
        """
        matrix = jnp.moveaxis(kernel.astype(jnp.float32), self.axis, 0)
        matrix = matrix.reshape(matrix.shape[0], -1)
        rows, columns = matrix.shape
        lead = () if self.singular_values == 1 else (min(self.singular_values, rows, columns),)

        # Any start that is independent of the weights does; random ones take seconds to compile.
        u = self.variable("spectral", "u", lambda: _start(rows, *lead))
        v = self.variable("spectral", "v", lambda: jnp.zeros((*lead, columns)))
        sigma = self.variable("spectral", "sigma", lambda: jnp.ones(lead))
        if self.is_mutable_collection("spectral"):
            fixed = jax.lax.stop_gradient(matrix)

            def iterate(vectors: tuple[Array, Array]) -> tuple[Array, Array]:
                right = _orthonormal(vectors[0] @ fixed, self.epsilon, vectors[1])
                return _orthonormal(right @ fixed.T, self.epsilon, vectors[0]), right

            vectors = (u.value, v.value)
            if self.is_initializing():
                # A fresh u is no estimate: iterate first, as PyTorch's parametrisation does.
                vectors = jax.lax.fori_loop(0, 15, lambda _, vectors: iterate(vectors), vectors)
            for _ in range(self.iterations):
                vectors = iterate(vectors)
            u.value, v.value = vectors
        left, right = jax.lax.stop_gradient((u.value, v.value))
        # First over the axes that devices do not share out, so that a scalar is what travels.
        if self.axis in (-1, kernel.ndim - 1):
            estimates = (left * (right @ matrix.T)).sum(-1)
        else:
            estimates = ((left @ matrix) * right).sum(-1)
        if self.is_mutable_collection("spectral"):
            sigma.value = jax.lax.stop_gradient(estimates)
        first = estimates[0] if lead else estimates
        # Below the smallest float, one over it would be infinite.
        return 1 / jnp.where(jnp.abs(first) < jnp.finfo(jnp.float32).tiny, 1, first)
