"""An experiment's data as training and pictures take them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from jaxgan import data
from jaxgan.config import Experiment
from jaxgan.errors import UserError
from jaxgan.fields import Field, Resolution
from jaxgan.parallel.mesh import batch_sharding
from jaxgan.system import Stage, data_fields, stages_of


def batch_of(experiment: Experiment, stage: Stage) -> int:
    """Examples a draw in a stage."""
    return stage.batch or experiment.batch


def shapes_of(
    experiment: Experiment, stage: Stage, mesh: Mesh | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what an iteration of a stage consumes, laid out as training lays it out."""
    lead = stage.lead(experiment.micro)
    layout = None if mesh is None else batch_sharding(mesh, leading=len(lead))
    rows = (*lead, batch_of(experiment, stage) // experiment.micro)
    return {
        name: jax.ShapeDtypeStruct((*rows, *field.shape), field.dtype, sharding=layout)
        for name, field in data_fields(experiment.system, stage.resolution).items()
    }


def stage_feed(
    experiment: Experiment,
    source: data.Source | data.Stepwise,
    number: int,
    part: tuple[int, int] = (0, 1),
) -> Any:
    """The data of a stage, by its number, or one of so many equal parts of every batch."""
    if isinstance(source, data.Stepwise):
        return source
    *before, stage = stages_of(experiment.system)[: number + 1]
    order = data.Order(
        batch=batch_of(experiment, stage),
        draws=stage.draws,
        micro=experiment.micro,
        seed=experiment.seed,
        begin=sum(each.steps or 0 for each in before),
        seen=sum((each.steps or 0) * each.draws * batch_of(experiment, each) for each in before),
        process=part[0],
        processes=part[1],
    )
    return data.batches(
        source,
        experiment.system.data(),
        order,
        framing=dataclasses.replace(experiment.data.framing, draft=True),
        flip=experiment.data.flip,
        columns=experiment.data.renames,
        resolution=stage.resolution,
        workers=experiment.data.workers,
    )


def table(
    experiment: Experiment,
    source: data.Source | data.Stepwise,
    resolution: Resolution | None,
    about: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    groups: tuple[Mapping[str, Field], ...] | None = None,
) -> data.Batches:
    """The data for what is drawn from them and shown: neither mirrored nor cut at random.

    `about` is what a trained run knows of its fields, such as who encoded its sentences; `groups`
    are other fields than the system's own.

    Raises:
        UserError: batches of one's own, whose items cannot be asked for; data that are not as the
            run knows its own.
    """
    known = about or {}
    settings = experiment.data
    if isinstance(source, data.Stepwise):
        raise UserError(f"{settings.name} has batches alone: give what is to be used of the data")
    framing = dataclasses.replace(
        settings.framing, resize=settings.resize or settings.jitter is not None, jitter=None
    )
    return data.batches(
        source,
        tuple(
            {name: field.bind(known.get(name, {})) for name, field in group.items()}
            for group in groups or experiment.system.data()
        ),
        data.Order(batch=1, seed=experiment.seed),
        framing=framing,
        columns=settings.renames,
        resolution=resolution,
    )
