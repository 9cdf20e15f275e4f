"""The training loop: an iterator over iterations; what happens between them is the caller's."""

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PRNGKeyArray

from jaxgan.parallel.mesh import batch_sharding
from jaxgan.parallel.sharding import state_shardings
from jaxgan.state import State
from jaxgan.system import Examples, Metrics, Stage, System, stages_of
from jaxgan.training.frozen import held
from jaxgan.training.step import Step, compile_step, make_step

_ENTER = 0xFFFFFFFE  # counted down by where a stage begins; steps never reach it

_AHEAD = 2
"""Batches on the devices before they are used."""

_BYTES_AHEAD = 15 * 10**8
"""Bytes of them, and of the one that is being made: with what data make ahead, 2 GB."""


class Feed(Protocol):
    """A source of batches: element `step` is the batch of that step."""

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """This process's part of the batch of a step."""
        ...

    def iterate(self, start: int) -> Iterable[dict[str, np.ndarray]]:
        """The same of step `start` and of all after it."""
        ...


class Moment(NamedTuple):
    """The result of an iteration. `state` is valid until the next one is asked for.

    Attributes:
        step: iterations done.
        stage: the stage it was in.
        state: the State.
        metrics: {player: {metric: scalar}}, still on the device.
        number: of the stage, from 0.
    """

    step: int
    stage: Stage
    state: State
    metrics: dict[str, Metrics]
    number: int = 0


def spans(stages: tuple[Stage, ...], steps: int) -> list[tuple[Stage, int, int]]:
    """Each stage with its first step and the first of the next, for a run of `steps` iterations."""
    ends = list(itertools.accumulate(stage.steps or steps for stage in stages))
    begins = [0, *ends[:-1]]
    return [
        (stage, begin, min(end, steps) if stage.steps else steps)
        for stage, begin, end in zip(stages, begins, ends, strict=True)
        if begin < steps
    ]


def iterate(
    system: System,
    state: State,
    batches_of: Callable[[int], Feed],
    *,
    steps: int,
    seed: int = 0,
    micro: int = 1,
    mesh: Mesh,
    augment: str = "",
    freeze: Sequence[str] = (),
    step_of: Callable[..., Step] | None = None,
) -> Generator[Moment, None, None]:
    """Iterates from `state.step` to `steps`, yielding after every iteration.

    The stage is a function of the step, so a run resumes inside one or on its border: `enter` runs
    when an iteration begins a stage, after the hooks of the one before. While a stage trains, the
    step of the next one is compiled.

    Args:
        system: the GAN.
        state: where to begin; it is donated.
        batches_of: the data of a stage, by its number.
        steps: iterations of the whole run.
        seed: of the run.
        micro: micro-batches an update.
        mesh: devices, over which `state` is laid out by `jaxgan.parallel.sharding`.
        augment: what discriminators see augmented by, as `make_step` takes it.
        freeze: parameters that stay as they are, as `make_step` takes them.
        step_of: makes a stage's step of these, for one device; None: it is compiled ahead.
    """
    start = int(state.step)
    how: dict[str, Any] = {"seed": seed, "micro": micro, "augment": augment, "freeze": freeze}
    shapes = jax.tree.map(_shape_of, state)

    def prepare(number: int, stage: Stage, begin: int) -> _Prepared:
        batches = batches_of(number)
        sharding = batch_sharding(mesh, leading=(stage.draws > 1) + (micro > 1))
        first = _place(batches[max(begin, start)], sharding)
        if step_of is not None:
            return batches, first, sharding, step_of(stage, **how)
        step = make_step(system, stage, mesh=mesh, **how)
        return batches, first, sharding, compile_step(step, shapes, first)

    left = [
        (number, stage, begin, end)
        for number, (stage, begin, end) in enumerate(spans(stages_of(system), steps))
        if start < end
    ]
    ahead = ThreadPoolExecutor(1, "compiler")
    try:
        coming = [ahead.submit(prepare, *span[:3]) for span in left[:1]]
        for index, (number, stage, begin, end) in enumerate(left):
            batches, first, sharding, advance = coming.pop().result()
            # The next stage's step is compiled while this one trains.
            coming = [ahead.submit(prepare, *span[:3]) for span in left[index + 1 : index + 2]]
            step = max(begin, start)
            if stage.enter is not None and step == begin:
                # Not the key of the step that follows.
                key = jax.random.fold_in(jax.random.key(seed), _ENTER - begin)
                state = _entered(stage, state, first, key, mesh, freeze)
            with _closing(batches.iterate(step + 1)) as later:
                feed = itertools.chain([first], to_devices(later, sharding))
                del first  # memory of devices, which is free once it has been used
                for done, batch in zip(range(step + 1, end + 1), feed, strict=False):
                    # An implicit copy between host and device would stall both.
                    with jax.transfer_guard("disallow"):
                        state, metrics = advance(state, batch)
                    yield Moment(done, stage, state, metrics, number)
    finally:
        ahead.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _closing(feed: Iterable[dict[str, np.ndarray]]) -> Iterator[Iterable[dict[str, np.ndarray]]]:
    """Ends the threads and processes that make batches ahead, where there are."""
    try:
        yield feed
    finally:
        if close := getattr(feed, "close", None):
            close()


_Prepared = tuple[Feed, Examples, NamedSharding, Step]


def _shape_of(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _entered(
    stage: Stage,
    state: State,
    first: Examples,
    key: PRNGKeyArray,
    mesh: Mesh,
    freeze: Sequence[str],
) -> State:
    """The State that a stage begins with; frozen parameters outlast its beginning."""

    def enter(state: State, batch: Examples, key: PRNGKeyArray) -> State:
        assert stage.enter is not None
        entered = stage.enter(state, batch, key)
        return dataclasses.replace(entered, params=held(freeze, state.params, entered.params))

    layout = state_shardings(mesh, state)
    return jax.jit(enter, donate_argnums=0, out_shardings=layout)(state, first, key)


def to_devices(
    batches: Iterable[dict[str, np.ndarray]], sharding: NamedSharding
) -> Iterator[Examples]:
    """Places batches on the devices, two ahead of their use; fewer, where they are large."""
    queue: collections.deque[Examples] = collections.deque()
    for batch in batches:
        size = sum(x.nbytes for x in batch.values())
        queue.append(_place(batch, sharding))
        del batch  # which is not to be alive while the next one is made
        if len(queue) > min(_AHEAD, max(0, _BYTES_AHEAD // max(1, size) - 1)):
            yield queue.popleft()
    yield from queue


def _place(batch: dict[str, np.ndarray], sharding: NamedSharding) -> Examples:
    return {name: jax.make_array_from_process_local_data(sharding, x) for name, x in batch.items()}
