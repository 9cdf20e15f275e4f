"""Better samples of the same generator: the best of several, or latents refined by D.

Both keep what the use "generate" takes, so that their samples are drawn as all others are.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from jaxgan.errors import UserError, nearest
from jaxgan.fields import Label
from jaxgan.latent.needs import require
from jaxgan.latent.rows import repeat
from jaxgan.latent.scores import Attributes, classes
from jaxgan.latent.space import Space
from jaxgan.ranges import Positive, Rate, Seed, checked
from jaxgan.run.open import Run
from jaxgan.state import State
from jaxgan.system import use_of
from jaxgan.view import View

JUDGES = ("discriminator", "classifier")

_PORTION = 512


@checked
def best_of(
    run: Run,
    of: Positive,
    items: Mapping[str, Any],
    *,
    numbers: np.ndarray,
    by: str = "discriminator",
    seed: Seed = 0,
    options: Any = None,
    truncation: Rate | None = None,
    state: State | None = None,
) -> dict[str, Any]:
    """What "generate" takes for the best of several candidates in place of each sample.

    Candidates of sample i have the numbers i * of, ..., i * of + of - 1, so that it does not depend
    on how many are drawn. What is given for a sample is given for all its candidates.

    Args:
        run: whose generator.
        of: candidates.
        items: what "generate" is given, one for all samples or one for each.
        numbers: of the samples.
        by: "discriminator": the largest logit; "classifier": the largest probability of the label,
            by a small classifier of the run's data, or of any class where no label is taken.
        seed: of what is drawn.
        options: of "generate".
        truncation: of latents; None: none.
        state: another State of the system than the run's, such as with standing statistics.

    Returns [n, ...] by name.

    Raises:
        UserError: no such judge; a run without a discriminator, or data without
            classes.
    """
    attributes = _judge(run, by)
    taken: dict[str, list[Any]] = {}
    size = max(1, _PORTION // of)
    for start in range(0, len(numbers), size):
        mine = numbers[start : start + size]
        rows = (mine[:, None] * of + np.arange(of)).ravel()
        given = {
            name: x if len(x) == 1 else np.repeat(x[start : start + size], of, 0)
            for name, x in items.items()
        }
        how: dict[str, Any] = {
            "numbers": rows,
            "seed": seed,
            "options": options,
            "truncation": truncation,
        }
        applied = run.apply("generate", given, state=state, **how)
        scores = _scores(run, attributes, applied, state).reshape(-1, of)
        chosen = np.arange(len(mine)) * of + scores.argmax(1)
        for name, x in applied.taken.items():
            taken.setdefault(name, []).append(x[chosen])
    return {name: np.concatenate(parts) for name, parts in taken.items()}


def _judge(run: Run, by: str) -> Attributes | None:
    """A classifier; None: the discriminator."""
    if by == "classifier":
        return classes(run)
    if by != "discriminator":
        raise UserError(f"no judge {by!r}: give {' or '.join(JUDGES)}{nearest(by, JUDGES)}")
    require(run, "judge images", "judge")
    run.applied("judge")
    return None


def _scores(
    run: Run, attributes: Attributes | None, applied: Any, state: State | None
) -> Float[np.ndarray, " n"]:
    name = next(iter(run.gives("generate")))
    images = applied.made[name]
    if attributes is None:
        takes = run.takes("judge")
        given = {"image": images, **{n: x for n, x in applied.taken.items() if n in takes}}
        return run.apply("judge", given, state=state, numbers=len(images)).made["logit"]
    says = attributes.of(images)
    label = applied.taken.get("label")
    if label is None or not isinstance(run.takes("generate").get("label"), Label):
        return says.max(1)
    return says[np.arange(len(says)), label]


@checked
def refine(
    run: Run,
    items: Mapping[str, Any],
    *,
    numbers: np.ndarray,
    steps: Positive = 50,
    rate: Rate = 0.01,
    seed: Seed = 0,
    options: Any = None,
    truncation: Rate | None = None,
    state: State | None = None,
) -> dict[str, Any]:
    """What "generate" takes after Langevin steps in latents by the discriminator (DDLS).

    Che et al., "Your GAN is secretly an energy-based model and you should use discriminator driven
    latent sampling", NeurIPS 2020, algorithm 1: the energy is E(z) = |z|^2 / 2 - D(G(z)), of the
    prior and of the logit, and z <- z - rate / 2 * gradient of E + sqrt(rate) * noise. Where D was
    trained by the logistic loss its logit is a density ratio, and the samples tend to the data's;
    by other losses it is a score.

    Args:
        run: of a system with the uses "generate" and "judge".
        items: what "generate" is given.
        numbers: of the samples.
        steps: of Langevin's dynamics.
        rate: their size.
        seed: of what is drawn, and of the noise.
        options: of "generate".
        truncation: of the latents at the start; None: none.
        state: as of `best_of`.

    Raises:
        UserError: a run without these, or without a discriminator.
    """
    require(run, "judge images", "judge")
    run.applied("judge")
    space = Space.of(run, "z")
    generate, judge = use_of(run.system, "generate"), use_of(run.system, "judge")
    options = generate.options if options is None else options
    judged = [name for name in run.takes("judge") if name != "image"]
    name = next(iter(run.gives("generate")))
    taken = run.draw(
        "generate", items, numbers=numbers, seed=seed, options=options, truncation=truncation
    )

    def body(
        view: View, arrays: PyTree, rows: dict[str, Array], keys: Key[Array, " b"], turn: Array
    ) -> dict[str, Array]:
        del arrays

        def energy(z: Float[Array, "b z"]) -> Float[Array, ""]:
            given = {**rows, space.take: z}
            images = generate.call(view, given, keys, options)[name]
            seen = {"image": images, **{each: rows[each] for each in judged}}
            logit = judge.call(view, seen, keys, judge.options)["logit"]
            return (jnp.square(z).sum() / 2) - logit.sum()

        z = rows[space.take]
        fresh = jax.vmap(
            lambda key: jax.random.normal(
                jax.random.fold_in(jax.random.fold_in(key, 1), turn), z.shape[1:]
            )
        )(keys)
        return {space.take: z - rate / 2 * jax.grad(energy)(z) + math.sqrt(rate) * fresh}

    return repeat(run, body, (), taken, steps=steps, numbers=numbers, seed=seed, state=state)
