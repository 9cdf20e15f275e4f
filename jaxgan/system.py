"""The contract between a GAN and the engine: State, View, Player, Stage, System.

Training a GAN is a game. Players own networks and move in turn: each takes the gradient of its
own loss with respect to the parameters it owns. That is all the engine (`jaxgan.training`) knows;
what the networks are and what the losses say stands in one file a paper in `jaxgan.systems`.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from jaxgan.errors import UserError

Batch = Mapping[str, Array]
Metrics = dict[str, Float[Array, ""]]

Resolution = int | tuple[int, int]
"""Size of a stage's images: the side of squares, or height and width."""


def sides(resolution: Resolution) -> tuple[int, int]:
    """Height and width."""
    return (resolution, resolution) if isinstance(resolution, int) else resolution


@flax.struct.dataclass
class State:
    """All that a run is. One PyTree of the same structure at every stage: one checkpoint.

    step: iterations done; with the seed the only source of randomness (no key is stored).
    params: {network: parameters}, float32.
    stats: {network: {collection: ...}} for "batch_stats", "spectral" and the like, and, under
        names of their own, arrays that a system keeps (an image pool, a running mean).
    opt: {slot: optax state}.
    ema: {network: {"params": ..., "batch_stats": ...}}, averages for the networks in `System.ema`.
    """

    step: Int[Array, ""]
    params: dict[str, PyTree]
    stats: dict[str, PyTree]
    opt: dict[str, PyTree]
    ema: dict[str, PyTree]


class View:
    """What a loss, or a use of trained networks, sees: the networks with their current values.

    `view("generator", z)` applies a network and records what it wrote (running means of batch
    norm); the next application starts from there, as it would in PyTorch. `view.frozen(...)`
    applies without recording: for use under `jax.grad`, as in gradient penalties.

    Spectral state never moves here: the engine advances it once for each update of a player that
    writes the network, however often the loss applies it.

    Either runs networks in the view's mode; the option `train=False` applies one in evaluation mode
    while others train.

    A loss gets the same key for every micro-batch; randomness that goes through `view.draw` then
    differs between them as it should.

    Where training augments (`jaxgan.augment`), networks that `System.judges` names see their first
    input augmented, afresh in every application.

    Attributes:
        stats: as `State.stats`, with what has been recorded.
        out: arrays for the batches of the players that move later in the iteration.
        train: whether networks run in training mode.
        step: iterations done, a traced scalar: for what changes within a stage, such as a fade.
        resolution: `Stage.resolution` of the stage, static; None where stages have none.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        params: Mapping[str, PyTree],
        stats: Mapping[str, PyTree],
        *,
        train: bool,
        mesh: Mesh | None = None,
        micro: tuple[int, int | Int[Array, ""]] = (1, 0),
        step: int | Int[Array, ""] = 0,
        resolution: Resolution | None = None,
        augment: Mapping[str, Callable[["View", Array], Array]] | None = None,
    ):
        self._augment = augment or {}
        self._networks, self._params, self._mesh, self._micro = networks, params, mesh, micro
        self.step, self.resolution = step, resolution
        self.stats = dict(stats)
        self.out: dict[str, Array] = {}
        self.train = train

    def __call__(self, network: str, *inputs: Any, **options: Any) -> Any:
        """Applies a network and records what it wrote."""
        stats = self.stats.get(network, {})
        mutable = [name for name in stats if name != "spectral"] if self.train else []
        outputs, written = self._apply(network, inputs, options, mutable)
        self.stats[network] = {**stats, **written}
        return outputs

    def together(self, network: str, *batches: tuple) -> tuple[Any, ...]:
        """Applies a network once to several batches of one size; their outputs, one by one.

        For networks that treat every sample alone (no batch norm): one large product is faster
        than two small ones. Samples are interleaved, so that a batch that is split over devices
        stays where it is; end to end, parts of it would travel.

        `real, fake = view.together("discriminator", (x, label), (generated, its_label))`
        """

        def interleave(*parts: Array) -> Array:
            return jnp.stack(parts, 1).reshape(-1, *parts[0].shape[1:])

        outputs = self(network, *jax.tree.map(interleave, *batches))
        return tuple(
            jax.tree.map(lambda x: x.reshape(-1, len(batches), *x.shape[1:])[:, i], outputs)  # noqa: B023
            for i in range(len(batches))
        )

    def draw(self, count: int, sampler: Callable[[int], Array]) -> Array:
        """Random rows for this (micro-)batch: `view.draw(b, lambda n: normal(key, (n, 128)))`.

        The sampler is asked for the rows of the whole batch, of which this micro-batch takes its
        share. So accumulating over micro-batches sees the numbers that one large batch would.
        """
        parts, index = self._micro
        rows = sampler(parts * count)
        return rows if parts == 1 else jax.lax.dynamic_slice_in_dim(rows, index * count, count)

    def frozen(self, network: str, *inputs: Any, **options: Any) -> Any:
        """Applies a network and records nothing."""
        return self._apply(network, inputs, options, [])[0]

    def _apply(self, network: str, inputs: tuple, options: dict, mutable: list[str]) -> Any:
        if network in self._augment:
            inputs = (self._augment[network](self, inputs[0]), *inputs[1:])
        return self._networks[network].apply(
            {"params": self._params[network], **self.stats.get(network, {})},
            *split_over_devices(inputs, self._mesh),
            mutable=mutable,
            **{"train": self.train, **options},
        )


def split_over_devices(inputs: PyTree, mesh: Mesh | None) -> PyTree:
    """Lays the first axis of every array over the devices of the mesh.

    Latents are drawn in a loss, so no sharding reaches them from the batch: without this hint each
    device would compute all of them. Arrays that do not divide are left alone.
    """
    if mesh is None or mesh.size == 1:
        return inputs

    def lay(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.ndim == 0 or x.shape[0] % mesh.size:
            return x
        return jax.lax.with_sharding_constraint(
            x, NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        )

    return jax.tree.map(lay, inputs)


Decay = float | Callable[[Int[Array, ""]], Float[Array, ""]]
"""What an average keeps in an iteration, or a schedule of it by step."""

Loss = Callable[[View, Batch, PRNGKeyArray], tuple[Float[Array, ""], Metrics]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Player:
    """One who moves in the game.

    Attributes:
        name: names the metrics.
        owns: networks whose parameters this player moves.
        loss: (view, batch, key) -> (scalar to minimise, metrics). The batch holds "image"
            [b, ...], for labelled data "label" [b], for systems with an `input_shape` "input"
            [b, ...], and what earlier players put in `view.out`.
        optimizer: optax transformation over {network: parameters} of `owns`.
        slot: names the optimiser state. Players with equal slots share it (and own the same).
        repeats: updates an iteration (WGAN's n_critic).
        every: moves on every n-th iteration only (lazy regularisation).
        reuse: sees the last batch again instead of a fresh one.
        writes: names in `State.stats` that this player's loss may advance; for networks, batch
            norm's running statistics and one power iteration an update.
        project: {network: parameters} -> the same, after each update (WGAN's clipping).
    """

    name: str
    owns: tuple[str, ...]
    loss: Loss
    optimizer: optax.GradientTransformation
    slot: str = ""
    repeats: int = 1
    every: int = 1
    reuse: bool = False
    writes: tuple[str, ...] = ()
    project: Callable[[dict[str, PyTree]], dict[str, PyTree]] | None = None

    def __post_init__(self) -> None:
        if not self.slot:
            object.__setattr__(self, "slot", self.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training with one set of rules; most systems have one, without end.

    Attributes:
        players: in the order in which they move.
        steps: iterations of this stage; None in the last stage: as many as the run has left.
        batch: images a draw; None: the experiment's.
        resolution: size of the images of this stage, for systems that grow; None: the system's.
            Its data are the system's images: averaged over cells where it is the side of squares,
            resampled (bicubic) where it is height and width. Losses and `generate` find it in
            `view.resolution`.
        enter: (state, batch, key) -> state, once, before the stage's first iteration.
    """

    players: tuple[Player, ...]
    steps: int | None = None
    batch: int | None = None
    resolution: Resolution | None = None
    enter: Callable[[State, Batch, PRNGKeyArray], State] | None = None

    @property
    def draws(self) -> int:
        """Fresh batches that one iteration consumes; at least one, for those who reuse it."""
        return max(1, sum(p.repeats for p in self.players if not p.reuse))

    def shape_of(self, system: "System") -> tuple[int, ...]:
        """Shape of one sample of the system in this stage."""
        if self.resolution is None:
            return system.shape
        return (*sides(self.resolution), system.shape[-1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class System(ABC):
    """A GAN: a frozen dataclass of hyper-parameters that declares networks and players.

    Subclasses are frozen, keyword-only dataclasses. What a trained system can do are further
    methods, pure functions of a view: `generate` is the one that `jaxgan sample` uses, `translate`
    that of `jaxgan translate`.
    """

    conditional: ClassVar[bool] = False
    # Whether this system can use labels; others refuse `classes`.
    directions: ClassVar[tuple[str, ...]] = ()
    # What `translate` can do: "AtoB" makes images of inputs, "BtoA" inputs of images.
    aligned: ClassVar[bool] = True
    # Whether an input must belong to its image; others also learn from two unrelated sets.
    judges: ClassVar[tuple[str, ...]] = ("discriminator",)
    # Networks whose first input are images that augmentation may change; () for none.

    shape: tuple[int, ...]
    """Shape of one sample: height, width, channels of an image, or (dimensions,) of a point."""
    classes: int = 0
    """Number of classes; 0 trains without labels."""
    latent: int = 128
    """Size of the latent vector."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that convolutions and matrix products run in; state stays float32."""

    ema_decay: float = 0.0
    """What the average of the generator's weights keeps in an iteration; 0: no average."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """{name: Linen module}, whose `__call__` takes the keyword `train`."""

    @abstractmethod
    def inputs(self) -> dict[str, tuple]:
        """{network: positional inputs with a leading axis of 1}, zeros: enough to initialise it."""

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order. Built once a run: a new closure would be a new compilation."""

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of the image, "input" in a batch, that an image is made from; None: there is none.

        Systems that have one draw nothing from latents; they have `directions` and `translate`.
        """
        return None

    def ema(self) -> Mapping[str, Decay]:
        """{network: decay an iteration, or a schedule of it by step}: networks to average."""
        return {"generator": self.ema_decay} if self.ema_decay else {}

    def init(self, key: PRNGKeyArray) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """(params, stats) at the start. Systems with arrays of their own in `stats` extend it."""
        params, stats = {}, {}
        inputs = self.inputs()
        for index, (name, network) in enumerate(self.networks().items()):
            variables = network.init(jax.random.fold_in(key, index), *inputs[name], train=True)
            params[name] = variables.pop("params")
            stats[name] = variables
        return params, stats

    def draw_latents(
        self, key: PRNGKeyArray, count: int, truncation: float | None = None
    ) -> Float[Array, "count latent"]:
        """Standard normal latents; `truncation` redraws components beyond +-truncation."""
        shape = (count, self.latent)
        if truncation is None:
            return jax.random.normal(key, shape)
        return jax.random.truncated_normal(key, -truncation, truncation, shape)

    def draw_labels(self, key: PRNGKeyArray, count: int) -> Int[Array, " count"]:
        """Classes, uniformly: what labels generated images have in training."""
        return jax.random.randint(key, (count,), 0, self.classes)

    def generate(
        self, view: View, latents: Float[Array, "b latent"], labels: Int[Array, " b"] | None
    ) -> Float[Array, "b ..."]:
        """Samples [b, *shape] in [-1, 1] from latents and, for conditional systems, labels."""
        inputs = (latents,) if labels is None else (latents, labels)
        return view("generator", *inputs)

    def translate(
        self, view: View, images: Float[Array, "b ..."], keys: Key[Array, " b"], direction: str
    ) -> Float[Array, "b ..."]:
        """Images in [-1, 1] made from others; the key of each says which of those it may become."""
        raise NotImplementedError(f"{type(self).__name__} has no directions to translate in")

    def preview(
        self, view: View, examples: Batch, keys: Key[Array, " b"]
    ) -> tuple[Float[Array, "b ..."], ...]:
        """What training shows of a system that translates: the columns of a picture.

        A row an example of the data: by default its input, what is made of that, and its image.
        """
        made = self.translate(view, examples["input"], keys, "AtoB")
        return examples["input"], made, examples["image"]


@runtime_checkable
class Styled(Protocol):
    """What a system can do whose generator has a style for each layer (`jaxgan sample --mix`)."""

    def styles(
        self,
        view: View,
        latents: Float[Array, "b latent"],
        labels: Int[Array, " b"] | None,
        psi: float,
    ) -> Float[Array, "b l d"]:
        """Styles of the layers, at psi times their distance from the average."""

    def synthesize(self, view: View, styles: Float[Array, "b l d"]) -> Float[Array, "b h w c"]:
        """Images of styles."""


@runtime_checkable
class Resizable(Protocol):
    """What a system can do that draws images of any size (`jaxgan sample --size`)."""

    def resized(self, height: int, width: int) -> System:
        """The same networks, with latents for images of another size: to draw, not to train."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pyramid(System):
    """A system that draws one image scale by scale, and others by what it knows (`jaxgan edit`)."""

    @abstractmethod
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each scale, the coarsest first."""

    @abstractmethod
    def reconstruction(self, view: View) -> Float[Array, " latent"]:
        """The latents that the image itself is made of."""

    @abstractmethod
    def inject(
        self,
        view: View,
        images: Float[Array, "b h w c"],
        latents: Float[Array, "b latent"],
        scale: int,
    ) -> Float[Array, "b h w c"]:
        """What the scales from `scale` on make of images; scale 0 is given none."""

    @abstractmethod
    def enlarge(
        self, view: View, images: Float[Array, "b h w c"], key: PRNGKeyArray, factor: float
    ) -> Float[Array, "b y x c"]:
        """Images `factor` times as large, with the detail that the finest scale has learned."""


def check(system: System, stages: Sequence[Stage]) -> None:
    """Refuses a system that breaks the contract, and names what is wrong."""
    if system.classes and not system.conditional:
        raise UserError(
            f"{type(system).__name__} learns without labels, but system.classes is "
            f"{system.classes}: set it to 0, or take a conditional system"
        )
    if bool(system.directions) != (system.input_shape is not None):
        raise ValueError(
            f"directions are {system.directions} and input_shape is {system.input_shape}: a system "
            "has both or neither"
        )
    networks = set(system.networks())
    owners: dict[str, tuple[str, ...]] = {}
    for stage in stages:
        names = [player.name for player in stage.players]
        if len(set(names)) < len(names):
            raise ValueError(f"players of a stage need names of their own, not {names}")
        for player in stage.players:
            if player.repeats < 1 or player.every < 1:
                raise ValueError(
                    f"player {player.name!r}: repeats is {player.repeats} and every "
                    f"{player.every}, but both count from 1"
                )
            if unknown := set(player.owns) - networks:
                raise ValueError(
                    f"player {player.name!r} owns {sorted(unknown)}, "
                    f"but the networks are {sorted(networks)}"
                )
            if owners.setdefault(player.slot, player.owns) != player.owns:
                raise ValueError(
                    f"players that share the optimiser slot {player.slot!r} must own the same "
                    f"networks, not {owners[player.slot]} and {player.owns}"
                )
    if any(stage.steps is None for stage in stages[:-1]):
        raise ValueError("only the last stage may leave `steps` open")
    if unknown := set(system.ema()) - networks:
        raise ValueError(f"ema names {sorted(unknown)}; networks are {sorted(networks)}")
    if jnp.dtype(system.dtype) not in (jnp.float32, jnp.bfloat16):
        raise ValueError(f"dtype is {system.dtype}; it can be float32 or bfloat16")
