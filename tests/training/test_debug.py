import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import init, make_step
from jaxgan.system import stages_of
from jaxgan.training.checkpoint import Diverged
from jaxgan.training.debug import debugged_step
from tests.toys import TinyGAN

BATCH = {"image": np.random.default_rng(0).normal(size=(2, 16, 2)).astype(np.float32)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spoilt(TinyGAN):
    """TinyGAN whose generator's loss has no gradient, or no value, from a step on."""

    spoilt_at: int = 1
    value: bool = False

    def generator_loss(self, view, batch, key):
        loss, metrics = super().generator_loss(view, batch, key)
        gone = jnp.where(view.step < self.spoilt_at, 1.0, 0.0)
        if self.value:
            return loss + jnp.exp(100.0 * (1 - gone)), metrics
        return loss + 0 * jnp.sqrt(gone * loss**2), metrics  # the line


def line() -> int:
    text = Path(__file__).read_text().splitlines()
    return next(n for n, each in enumerate(text, 1) if each.endswith("# the line"))


def columns(table):
    return list(zip(*(column._cells for column in table.columns), strict=True))


@pytest.mark.parametrize("eager", [False, True])
def test_a_step_that_is_looked_at_is_the_same_step(eager):
    system, tables = TinyGAN(repeats=2), []
    (stage,) = stages_of(system)
    plain = make_step(system)(init(system), BATCH)
    state = init(system)
    looked = debugged_step(system, stage, eager=eager, tell=tables.append)(state, BATCH)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(looked), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert jax.tree.structure(plain) == jax.tree.structure(looked)
    assert int(state.step) == 0  # it is not donated
    (table,) = tables
    rows = columns(table)
    assert [row[0] for row in rows] == sorted(
        f"{network}/{'/'.join(entry.key for entry in path)}"
        for network, params in state.params.items()
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    )
    # The root mean squares of all gradients of a player are its gradient's norm.
    for player in stage.players:
        square = sum(
            float(gradient) ** 2 * np.prod([int(n) for n in shape.split("x")])
            for name, shape, _, gradient, _ in rows
            if name.startswith(player.name)
        )
        norm = float(looked[1][player.name]["gradient_norm"])
        np.testing.assert_allclose(np.sqrt(square), norm, rtol=1e-2)  # three digits are shown


def test_what_is_no_number_is_traced_to_its_line():
    system = Spoilt(repeats=2)
    step = debugged_step(system, stages_of(system)[0], tell=lambda table: None)
    state, _ = step(init(system), BATCH)
    with pytest.raises(Diverged) as caught:
        step(state, BATCH)
    where = f"at {re.escape(__file__)}:{line()} \\(generator_loss\\)"
    assert re.fullmatch(
        f"step 2: generator/gradient_norm is nan; the first nan comes from mul, {where}",
        str(caught.value),
    )


def test_what_overflows_is_traced_to_its_line():
    system = Spoilt(value=True)
    step = debugged_step(system, stages_of(system)[0], tell=lambda table: None)
    batch = {"image": BATCH["image"][0]}
    state, _ = step(init(system), batch)
    with pytest.raises(Diverged) as caught:
        step(state, batch)
    assert "generator/loss is inf; the first inf comes from exp, at" in str(caught.value)
    assert f"{__file__}:{line() - 1} (generator_loss)" in str(caught.value)
