"""Self-attention over the positions of a map: SAGAN's two forms (Zhang et al. 2018, section 3).

Neither scales its logits by 1/sqrt(d). Matrix products run in the input's type, their sums and
the softmax in float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers as jinit
from jaxtyping import Array, Float

from jaxgan.backend import on_cpu
from jaxgan.errors import UserError
from jaxgan.nn.initializers import TORCH, Init
from jaxgan.nn.layers import Conv, Reparam
from jaxgan.nn.reduce import add_bias
from jaxgan.nn.residual import carry


def _attend(
    query: Float[Array, "b h w k"], key: Float[Array, "b y x k"], value: Float[Array, "b y x v"]
) -> tuple[Float[Array, "b h w v"], Float[Array, "b n m"]]:
    """sum_j A_ij value_j and A_ij = softmax_j(query_i . key_j), positions in row order."""
    b, h, w, _ = query.shape
    query, key, value = (a.reshape(b, -1, a.shape[-1]) for a in (query, key, value))
    # The map is then computed only where it is used.
    attention = jax.nn.softmax(_product("bnk,bmk->bnm", query, key), axis=-1)
    by_sample = on_cpu() and jax.device_count() == 1
    out = (_attend_by_sample if by_sample else _attend_at_once)(query, key, value)
    return out.reshape(b, h, w, -1), attention


def _product(equation: str, *operands: Array) -> Array:
    """An einsum whose sums are float32."""
    return jnp.einsum(equation, *operands, preferred_element_type=jnp.float32)


@jax.custom_vjp
def _attend_at_once(
    query: Float[Array, "b n k"], key: Float[Array, "b m k"], value: Float[Array, "b m v"]
) -> Float[Array, "b n v"]:
    """The same output, for accelerators, where memory traffic of the maps costs most.

    At 64x64 a map is 4096 x 1024 a sample, and plain softmax moves it in float32 a dozen times:
    twice the time, on a TPU v3. Here one map is written, in the value's type: exp(logits - their
    row's maximum). The logits are cheap, so they are computed twice, once for that maximum. The
    gradient takes sum_j A_ij dA_ij from the output (Dao et al. 2022, appendix B), so its map, too,
    is written once.
    """
    return _at_once_forward(query, key, value)[0]


def _at_once_forward(query, key, value):  # type: ignore[no-untyped-def]
    top = _product("bnk,bmk->bnm", query, key).max(-1, keepdims=True)
    # Without the barrier the two products become one, whose map is written.
    query, top = jax.lax.optimization_barrier((query, top))
    weights = jnp.exp(_product("bnk,bmk->bnm", query, key) - top)
    total = weights.sum(-1, keepdims=True)
    # Without this one the map is written in float32 for all that reads it.
    weights = jax.lax.optimization_barrier(weights.astype(value.dtype))
    out = _product("bnm,bmv->bnv", weights, value) / total
    return out.astype(value.dtype), (query, key, value, weights, total, out)


def _at_once_backward(saved, g):  # type: ignore[no-untyped-def]
    query, key, value, weights, total, out = saved
    share = (g / total).astype(value.dtype)
    row = (share * out).sum(-1, keepdims=True)
    by_logits = (weights * (_product("bnv,bmv->bnm", share, value) - row)).astype(value.dtype)
    grads = (
        _product("bnm,bmk->bnk", by_logits, key),
        _product("bnm,bnk->bmk", by_logits, query),
        _product("bnm,bnv->bmv", weights, share),
    )
    return tuple(d.astype(a.dtype) for d, a in zip(grads, saved, strict=False))


_attend_at_once.defvjp(_at_once_forward, _at_once_backward)


@jax.custom_vjp
def _attend_by_sample(
    query: Float[Array, "b n k"], key: Float[Array, "b m k"], value: Float[Array, "b m v"]
) -> Float[Array, "b n v"]:
    """The same output, one sample after the other: a map of 1024 x 1024 stays in a CPU's cache.

    Nothing of the maps is kept for the gradient but the logarithms of their rows' sums, from which
    they are computed again (Dao et al. 2022, appendix B). Maps are transposed, [keys, queries]: so
    sums run along memory.
    """
    return _attend_forward(query, key, value)[0]


def _attend_forward(query, key, value):  # type: ignore[no-untyped-def]
    def one(inputs):  # type: ignore[no-untyped-def]
        q, k, v = (a.astype(jnp.float32) for a in inputs)
        logits = k @ q.T
        top = logits.max(0)
        weights = jnp.exp(logits - top)
        total = weights.sum(0)
        out = ((v.T @ weights) / total).T
        return out.astype(inputs[2].dtype), top + jnp.log(total)

    out, log_total = jax.lax.map(one, (query, key, value))
    return out, (query, key, value, out, log_total)


def _attend_backward(saved, g):  # type: ignore[no-untyped-def]
    def one(inputs):  # type: ignore[no-untyped-def]
        q, k, v, out, log_total, g = (a.astype(jnp.float32) for a in inputs)
        attention = jnp.exp(k @ q.T - log_total)
        by_logits = attention * (v @ g.T - (g * out).sum(-1))
        grads = (by_logits.T @ k, by_logits @ q, attention @ g)
        return tuple(d.astype(a.dtype) for d, a in zip(grads, inputs[:3], strict=True))

    return jax.lax.map(one, (*saved, g))


_attend_by_sample.defvjp(_attend_forward, _attend_backward)


def _key_channels(channels: int) -> int:
    """An eighth of the channels. Raises UserError where that is none."""
    if channels < 8:
        raise UserError(
            f"attention over {channels} channels, but it needs at least 8: widen the network."
        )
    return channels // 8


def _max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 c"]:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


class SelfAttention(nn.Module):
    """gamma * attention(x) + x with every position as a key; the widespread form of SAGAN.

    1x1 convolutions with biases: query and key c -> c/8, value c -> c; gamma is a scalar that
    starts at 0. 1.25 c^2 + 1.25 c + 1 parameters. Nothing is spectrally normalised.

    Attributes:
        initializer: initialiser of the convolutions.
    """

    initializer: Init = TORCH

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b h*w h*w"]]:
        """Returns the output and the attention map, whose rows sum to 1 over the keys.

        Raises:
            UserError: fewer than 8 channels.
        """
        channels = x.shape[-1]

        def conv(features: int, name: str) -> Float[Array, "b h w f"]:
            return Conv(
                features,
                kernel_size=1,
                initializer=self.initializer,
                inert_bias=name == "key",  # it adds query_i . bias to all logits of a row
                dtype=x.dtype,
                name=name,
            )(x)

        narrow = _key_channels(channels)
        out, attention = _attend(
            conv(narrow, "query"), conv(narrow, "key"), conv(channels, "value")
        )
        gamma = self.param("gamma", jinit.zeros, (), jnp.float32)
        return (gamma * out + x).astype(x.dtype), attention


class PooledSelfAttention(nn.Module):
    """x + sigma * attention(x) with 2x2 max-pooled keys and values: SAGAN as released, and BigGAN.

    1x1 convolutions without biases: theta and phi c -> c/8, g c -> c/2, o c/2 -> c; phi and g are
    pooled, so the map is a quarter of the full one; sigma is a scalar that starts at 0.
    1.25 c^2 + 1 parameters. Follows the authors' code; the paper's text has neither pooling nor o.

    Attributes:
        initializer: initialiser of the convolutions.
        reparam: reparametrisation of their kernels; both papers use spectral norm.
    """

    initializer: Init = TORCH
    reparam: Reparam | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], shift: Float[Array, " c"] | None = None) -> Any:
        """Returns the output [b, h, w, c] and the attention map [b, h*w, h*w/4].

        Rows of the map sum to 1 over the pooled keys. With `shift`, a zero with the gradient of the
        biases before (`jaxgan.nn.residual`), also the shift [c] after it. Only the queries take it:
        to the keys it would add the same number in a whole row, which softmax ignores, and to the
        values a constant, which batch norm subtracts; so that is in the shift that is returned.

        Raises:
            UserError: an odd height or width, or fewer than 8 channels.
        """
        _, height, width, channels = x.shape
        if height % 2 or width % 2:
            raise UserError(
                f"pooled attention over a {height}x{width} map, but it pools 2x2: "
                "choose a resolution at which both sides are even."
            )

        def conv(features: int, name: str) -> Conv:
            return Conv(
                features,
                kernel_size=1,
                use_bias=False,
                initializer=self.initializer,
                reparam=self.reparam,
                dtype=x.dtype,
                name=name,
            )

        narrow = _key_channels(channels)
        theta = conv(narrow, "theta")
        query = theta(x)
        if shift is not None:
            query = add_bias(query, carry(theta, shift))
        g, o = conv(channels // 2, "g"), conv(channels, "o")
        out, attention = _attend(query, _max_pool(conv(narrow, "phi")(x)), _max_pool(g(x)))
        out = o(out)
        sigma = self.param("sigma", jinit.zeros, (), jnp.float32)
        out = (x + sigma * out).astype(x.dtype)
        if shift is None:
            return out, attention
        return out, attention, shift + sigma * carry(o, carry(g, shift))
