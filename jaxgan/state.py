"""All that a run is, as one PyTree."""

import flax.struct
from jaxtyping import Array, Int, PyTree


@flax.struct.dataclass
class State:
    """Of the same structure at every stage, so a run has one kind of checkpoint.

    step: iterations done; with the seed the only source of randomness (no key is stored).
    params: {network: parameters}, float32.
    stats: {network: {collection: ...}} for "batch_stats", "spectral" and the like.
    memory: {name: arrays} that a system keeps between iterations: an image pool, the strength of
        augmentation.
    opt: {slot: optax state}.
    ema: {network: {"params": ..., "batch_stats": ...}}, averages for the networks in `System.ema`.
    pretrained: {name: variables} of published networks, whole on every device; never trained, and
        never part of a checkpoint.
    """

    step: Int[Array, ""]
    params: dict[str, PyTree]
    stats: dict[str, PyTree]
    memory: dict[str, PyTree]
    opt: dict[str, PyTree]
    ema: dict[str, PyTree]
    pretrained: dict[str, PyTree] = flax.struct.field(default_factory=dict)
