"""The contract between a GAN and the engine: Player, Stage, Use, System.

Training a GAN is a game. Players own networks and move in turn: each takes the gradient of its
own loss with respect to the parameters it owns. What a trained system can do are its uses, pure
functions of a view. That is all the engine (`jaxgan.training`) knows; what the networks are and
what the losses say stands in one file a paper in `jaxgan.systems`.
"""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree

from jaxgan.errors import UserError, nearest
from jaxgan.fields import Drawable, Field, FromData, Resolution
from jaxgan.ranges import Ranged
from jaxgan.state import State
from jaxgan.view import View

Examples = Mapping[str, Array]
"""What a loss sees of the data and of earlier players, by name: [b, ...]."""

Metrics = dict[str, Float[Array, ""]]

Decay = float | Callable[[Int[Array, ""]], Float[Array, ""]]
"""What an average keeps in an iteration, or a schedule of it by step."""

Loss = Callable[[View, Examples, PRNGKeyArray], tuple[Float[Array, ""], Metrics]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Player:
    """One who moves in the game.

    Attributes:
        name: names the metrics.
        owns: networks whose parameters this player moves.
        loss: (view, batch, key) -> (scalar to minimise, metrics). The batch holds the fields of
            `System.data()` by name, [b, ...], and what earlier players put in `view.out`.
        optimizer: optax transformation over {network: parameters} of `owns`.
        slot: names the optimiser state. Players with equal slots share it (and own the same).
        repeats: updates an iteration (WGAN's n_critic), or the most of them.
        updates: {player: metrics} of those who have moved in the iteration -> how many of `repeats`
            updates are made, at least 1; None: all.
        every: moves on every n-th iteration only (lazy regularisation).
        reuse: sees the last batch again instead of a fresh one.
        writes: networks whose statistics this player's loss may advance, batch norm's running ones
            and one power iteration an update; and names in `State.memory`.
        project: {network: parameters} -> the same, after each update (WGAN's clipping).
    """

    name: str
    owns: tuple[str, ...]
    loss: Loss
    optimizer: optax.GradientTransformation
    slot: str = ""
    repeats: int = 1
    updates: Callable[[dict[str, Metrics]], Int[Array, ""]] | None = None
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
        batch: examples a draw; None: the experiment's.
        resolution: size of the images of this stage, for systems that grow; None: the system's.
            The fields of `System.data()` are brought to it by `Field.at`. Losses and uses find it
            in `view.resolution`.
        enter: (state, batch, key) -> state, once, before the stage's first iteration.
    """

    players: tuple[Player, ...]
    steps: int | None = None
    batch: int | None = None
    resolution: Resolution | None = None
    enter: Callable[[State, Examples, PRNGKeyArray], State] | None = None

    @property
    def draws(self) -> int:
        """Fresh batches that one iteration consumes; at least one, for those who reuse it."""
        return max(1, sum(p.repeats for p in self.players if not p.reuse))

    def lead(self, micro: int) -> tuple[int, ...]:
        """The axes of a batch before that of examples: draws and micro-batches, where above 1."""
        return tuple(n for n in (self.draws, micro) if n > 1)


Fields = Mapping[str, Field]

FieldsOf = Callable[[Any, Resolution | None], Fields]
"""(options, resolution) -> fields, where options change their shapes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """Something that a trained system can do.

    What is data is a take; what changes the program is an option.

    Attributes:
        call: (view, {name: [b, ...]}, keys [b], options) -> {name: [b, ...]}, pure. Row i depends
            on row i of what is taken and on its key alone.
        takes: fields by name. What is not given is drawn, where it can be.
        gives: fields by name.
        options: a frozen dataclass of defaults, static in the compiled program; None: there are
            none.
        summary: what it does, in one line.
    """

    call: Callable[[View, dict[str, Array], Key[Array, " b"], Any], dict[str, Array]]
    takes: Fields | FieldsOf
    gives: Fields | FieldsOf
    options: Any = None
    summary: str = ""


@dataclasses.dataclass(frozen=True)
class Taken:
    """A field that a use takes.

    Attributes:
        field: with the shape that it has at the use's options and resolution.
        origin: the name in `System.data()` that it is drawn from, where it is not given; "": it is
            drawn at random, or must be given.
    """

    field: Field
    origin: str = ""

    @property
    def drawn(self) -> bool:
        """Whether it is drawn where it is not given."""
        return bool(self.origin) or isinstance(self.field, Drawable)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A published network that a system uses and never trains.

    Attributes:
        module: the network, whose `__call__` takes the keyword `train`.
        load: reads its variables, {"params": ..., ...}; raises UserError where they are missing.
        sha256: of the file that they come from; it is kept with the run.
    """

    module: nn.Module
    load: Callable[[], dict[str, PyTree]]
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class System(Ranged, ABC):
    """A GAN: a frozen dataclass of hyper-parameters that declares data, networks, players and uses.

    Subclasses are frozen, keyword-only dataclasses whose fields are hashable. Their numbers state
    their ranges (`jaxgan.ranges`), which are checked when a system is made.
    """

    flags: ClassVar[str] = "--system."

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that convolutions and matrix products run in; state stays float32."""

    @classmethod
    def renewed(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings of a config.json, as earlier versions of the system wrote them, as of now."""
        return settings

    @abstractmethod
    def data(self) -> tuple[dict[str, Field], ...]:
        """What it learns from, in groups.

        The fields of a group belong together: one item, one flip, one cut, one order. Other groups
        have their own, of other data (unpaired sets) or, by `Field.column`, of the same.
        """

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """{name: Linen module}, whose `__call__` takes the keyword `train`."""

    @abstractmethod
    def inputs(self) -> dict[str, tuple]:
        """{network: positional inputs with a leading axis of 1}, zeros: enough to initialise it.

        Of pretrained networks, too.
        """

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order. Ask `stages_of`: a new closure would be a new compilation."""

    @abstractmethod
    def uses(self) -> dict[str, Use]:
        """What it can do, by name; training shows the first.

        "generate" is what `jaxgan sample` and scores ask for.
        """

    def pretrained(self) -> dict[str, Pretrained]:
        """{name: published network}; a view applies them by these names."""
        return {}

    def ema(self) -> Mapping[str, Decay]:
        """{network: decay an iteration, or a schedule of it by step}: networks to average."""
        return {}

    def init(self, key: PRNGKeyArray) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """(params, stats) at the start."""
        params, stats = {}, {}
        inputs = self.inputs()
        for index, (name, network) in enumerate(self.networks().items()):
            variables = network.init(jax.random.fold_in(key, index), *inputs[name], train=True)
            params[name] = variables.pop("params")
            stats[name] = variables
        return params, stats

    def transparent(self) -> "System":
        """The same system, of whose modules inputs can be seen from without, in their traces.

        For systems that compute modules again in backpropagation, which hides what is inside.
        """
        return self

    def failed(self, step: int, metrics: Mapping[str, float]) -> str:
        """Why training should stop, by a row {"player/metric": value}; "": it goes on.

        For failures that metrics show and from which no run recovers, with what to do about it.
        """
        del step, metrics
        return ""

    def memory(self, key: PRNGKeyArray) -> dict[str, PyTree]:
        """Arrays that the system keeps between iterations, at the start (`State.memory`)."""
        del key
        return {}


@functools.lru_cache(maxsize=128)
def stages_of(system: System) -> tuple[Stage, ...]:
    """A system's stages, checked and built once.

    Raises:
        ValueError: the system breaks the contract; says how.
    """
    stages = system.stages()
    _check_contract(system, stages)
    return stages


def use_of(system: System, name: str) -> Use:
    """A use by its name.

    Raises:
        UserError: the system has none of that name; says which it has.
    """
    uses = system.uses()
    if name not in uses:
        raise UserError(
            f"{type(system).__name__} cannot {name!r}: it has {', '.join(uses)}"
            f"{nearest(name, uses)}"
        )
    return uses[name]


def data_fields(system: System, resolution: Resolution | None = None) -> dict[str, Field]:
    """What a system learns from, of all groups by name, at a stage's resolution."""
    return {name: f.at(resolution) for group in system.data() for name, f in group.items()}


def taken_by(
    system: System, use: Use, options: Any = None, resolution: Resolution | None = None
) -> dict[str, Taken]:
    """What a use takes, with its options (None: the defaults) and at a stage's resolution."""
    columns = data_fields(system, resolution)

    def resolve(field: Field) -> Taken:
        if isinstance(field, FromData):
            return Taken(columns[field.column], field.column)
        return Taken(field)

    fields = _resolved(use.takes, use, options, resolution)
    return {name: resolve(field) for name, field in fields.items()}


def given_by(
    use: Use, options: Any = None, resolution: Resolution | None = None
) -> dict[str, Field]:
    """What a use gives, with its options (None: the defaults) and at a stage's resolution."""
    return _resolved(use.gives, use, options, resolution)


def _resolved(
    fields: Fields | FieldsOf, use: Use, options: Any, resolution: Resolution | None
) -> dict[str, Field]:
    if callable(fields):  # it knows both, so `at` must not undo a size
        return dict(fields(use.options if options is None else options, resolution))
    return {name: field.at(resolution) for name, field in fields.items()}


def _check_contract(system: System, stages: Sequence[Stage]) -> None:
    """Refuses a system that breaks the contract, and names what is wrong."""
    networks = set(system.networks())
    memory = set(jax.eval_shape(system.memory, jax.random.key(0)))
    if both := networks & (memory | set(system.pretrained())):
        raise ValueError(f"{sorted(both)} name a network and something else: rename one")
    if missing := (networks | set(system.pretrained())) - set(system.inputs()):
        raise ValueError(f"inputs has nothing for {sorted(missing)}: give zeros of what they take")
    names = [name for group in system.data() for name in group]
    if len(set(names)) < len(names):
        raise ValueError(f"fields of data need names of their own, not {names}")
    if not stages or not all(stage.players for stage in stages):
        raise ValueError("stages are missing, or one has no players: declare at least one of each")
    for name, use in system.uses().items():
        _check_use(name, use, set(names))
    owners: dict[str, tuple[str, ...]] = {}
    for stage in stages:
        names = [player.name for player in stage.players]
        if len(set(names)) < len(names):
            raise ValueError(f"players of a stage need names of their own, not {names}")
        for player in stage.players:
            _check_player(player, networks, memory)
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


def _check_use(name: str, use: Use, data: set[str]) -> None:
    if use.options is not None and not dataclasses.is_dataclass(use.options):
        raise ValueError(f"options of the use {name!r} are no dataclass: give a frozen one")
    if callable(use.takes):
        return
    known = {field.name for field in dataclasses.fields(use.options)} if use.options else set()
    if both := known & set(use.takes):
        raise ValueError(f"the use {name!r} has {sorted(both)} among takes and options: rename one")
    for take, field in use.takes.items():
        if isinstance(field, FromData) and field.column not in data:
            raise ValueError(
                f"the use {name!r} takes {take} from the data's {field.column!r}, but data "
                f"declares {sorted(data)}"
            )


def _check_player(player: Player, networks: set[str], memory: set[str]) -> None:
    if player.repeats < 1 or player.every < 1:
        raise ValueError(
            f"player {player.name!r}: repeats is {player.repeats} and every {player.every}, but "
            "both count from 1"
        )
    if player.updates is not None and player.repeats == 1:
        raise ValueError(
            f"player {player.name!r}: updates choose how many of repeats are made, but repeats is 1"
        )
    if unknown := set(player.owns) - networks:
        raise ValueError(
            f"player {player.name!r} owns {sorted(unknown)}, but the networks are "
            f"{sorted(networks)}"
        )
    if unknown := set(player.writes) - networks - memory:
        raise ValueError(
            f"player {player.name!r} writes {sorted(unknown)}, but there are the networks "
            f"{sorted(networks)} and in memory {sorted(memory)}"
        )
