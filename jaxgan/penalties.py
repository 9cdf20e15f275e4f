"""Regularisers of the discriminator and of weights: pure functions, each an unweighted scalar.

A `critic` maps a batch x[b, ...] to outputs, one or more per sample, as a pure function: networks
are applied frozen (no statistics recorded), labels are closed over.

Gradients with respect to x are those of the sum of all outputs. That is each sample's own gradient
if no sample influences another's output. Batch normalisation in the critic breaks this (use layer
norm or none); minibatch standard deviation adds cross terms, as it does in ProGAN's own code.

Computed in float32 whatever the dtype of x (float64 stays float64).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgan.errors import UserError
from jaxgan.losses import at_least_float32

Critic = Callable[[Float[Array, "b ..."]], Float[Array, "b ..."]]


def _squared_gradient_norms(
    critic: Critic, x: Float[Array, "b ..."], *, pixels: bool = False
) -> Float[Array, "b ..."]:
    """‖∇ₓ critic(x)‖² of each sample, over all its axes, or of each pixel, over its channels."""
    gradients = jax.grad(lambda x: at_least_float32(critic(x)).sum())(at_least_float32(x))
    return jnp.square(gradients).sum(axis=-1 if pixels else range(1, gradients.ndim))


def _interpolate(
    real: Float[Array, "b ..."], fake: Float[Array, "..."], epsilon: Float[Array, " b"]
) -> Float[Array, "b ..."]:
    """ε real + (1 - ε) fake."""
    if real.shape != fake.shape:
        raise UserError(
            f"a penalty between real {real.shape} and fake {fake.shape} samples needs equal "
            "shapes: draw as many fakes as reals, of the same size"
        )
    real, fake = at_least_float32(real), at_least_float32(fake)
    epsilon = epsilon.astype(real.dtype).reshape(-1, *(1,) * (real.ndim - 1))
    return epsilon * real + (1 - epsilon) * fake


def gradient_penalty(
    critic: Critic,
    real: Float[Array, "b ..."],
    fake: Float[Array, "..."],
    epsilon: Float[Array, " b"],
    target: float = 1.0,
    *,
    pixels: bool = False,
) -> Float[Array, ""]:
    """E (‖∇ critic(x̂)‖₂ - target)² on x̂ between real and fake (WGAN-GP; Gulrajani et al. 2017).

    x̂ = ε real + (1 - ε) fake, with one `epsilon` ~ U[0, 1) per sample. Weighted by λ = 10 there.
    The norm is a plain square root, and its derivative is taken as 0 where the gradient is exactly
    0, so a constant critic gives target² and no NaN. A penalty relative to another target, as
    ProGAN has it on CIFAR-10, is this one divided by target². With `pixels`, the norm is that of
    each pixel's gradient, over its channels, and E is over pixels, too: SinGAN's code has it so.

    Raises:
      UserError: real and fake differ in shape.
    """
    squares = _squared_gradient_norms(critic, _interpolate(real, fake, epsilon), pixels=pixels)
    return jnp.square(root(squares) - target).mean()


def root(squares: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square roots, with the derivative 0 at 0, where it is infinite."""
    positive = squares > 0
    # Both branches of a `where` are differentiated, so the root must not see the zeros either.
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def zero_centred(
    critic: Critic,
    real: Float[Array, "b ..."],
    fake: Float[Array, "..."],
    epsilon: Float[Array, " b"],
) -> Float[Array, ""]:
    """E ‖∇ critic(x̂)‖² on x̂ between real and fake (0-GP; Thanh-Tung et al. 2019).

    x̂ as in `gradient_penalty`. Without R1's factor 1/2. The authors' two-dimensional examples
    differentiate the probability, not the logit: for that, pass the critic followed by a sigmoid.

    Raises:
      UserError: real and fake differ in shape.
    """
    return _squared_gradient_norms(critic, _interpolate(real, fake, epsilon)).mean()


def r1(critic: Critic, real: Float[Array, "b ..."]) -> Float[Array, ""]:
    """1/2 E ‖∇ critic(x)‖² on real samples (Mescheder et al. 2018, equation 9).

    The half is included, γ is not: the loss is `L + gamma * r1(critic, real)`, with γ = 10 as in
    StyleGAN meaning 5 E ‖∇‖².
    """
    return _squared_gradient_norms(critic, real).mean() / 2


def r2(critic: Critic, fake: Float[Array, "..."]) -> Float[Array, ""]:
    """1/2 E ‖∇ critic(x)‖² on generated samples (Mescheder et al. 2018, equation 10); see `r1`."""
    return _squared_gradient_norms(critic, fake).mean() / 2


def drift(real_logits: Float[Array, "..."]) -> Float[Array, ""]:
    """E d(x)², which keeps a Wasserstein critic's scores near 0 (ProGAN, appendix A.1; 1e-3)."""
    return jnp.square(at_least_float32(real_logits)).mean()


def orthogonal(params: Any, select: Callable[[str], bool] = lambda path: True) -> Float[Array, ""]:
    """Σ ‖WᵀW ⊙ (1 - I)‖²_F: lowers products of filters, not their norms (BigGAN, equation 3).

    W[rest, out] is a parameter with its last axis as columns: the filters of an HWIO convolution,
    of a dense layer (in, out), and the feature dimensions of an embedding (classes, features). The
    gradient of β times this is 4 β W (WᵀW ⊙ (1 - I)); BigGAN's PyTorch code adds half of it, so
    that code's β is twice the β to use here.

    Args:
      params: a tree of arrays. Those with at least two axes count.
      select: whether the parameter at a path such as "block_0/conv/kernel" counts. BigGAN leaves
        out the generator's shared embedding.

    Raises:
      UserError: nothing counts.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    matrices = [
        at_least_float32(leaf).reshape(-1, leaf.shape[-1])
        for path, leaf in leaves
        if leaf.ndim >= 2 and select(jax.tree_util.keystr(path, simple=True, separator="/"))
    ]
    if not matrices:
        raise UserError(
            f"orthogonal regularisation applies to none of {len(leaves)} parameters: select must "
            "accept the path of at least one with two or more axes"
        )

    def off_diagonal(w: Float[Array, "rest out"]) -> Float[Array, ""]:
        rest, out = w.shape
        # ‖WᵀW‖ = ‖WWᵀ‖, so the smaller product does: a dense layer of 24,576 outputs and 20 inputs
        # need not make a square of the former. With out > rest the difference is never small.
        if wide := out > rest:
            w = w.T
        gram = jnp.matmul(w.T, w, precision=jax.lax.Precision.HIGHEST)
        if wide:
            return jnp.square(gram).sum() - jnp.square(jnp.square(w).sum(1)).sum()
        return jnp.square(gram * (1 - jnp.eye(out, dtype=gram.dtype))).sum()

    return sum(map(off_diagonal, matrices), start=jnp.zeros(()))
