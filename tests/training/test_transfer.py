"""Beginning from another run, and parameters that stay: against NumPy, bit for bit."""

import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from rich.console import Console

import jaxgan
from jaxgan import Checkpoint, Data, Experiment, Log, Mesh, UserError
from jaxgan.config import to_json
from jaxgan.fields import Label, Points
from jaxgan.nn.layers import Embed
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.parallel.mesh import make_mesh
from jaxgan.run import Run, train
from jaxgan.system import Stage, stages_of
from jaxgan.training.loop import _entered
from jaxgan.training.transfer import Classes, transfer
from tests.toys import TinyGAN


class Table(nn.Module):
    """What a network of classes has: a table of them, and a layer that happens to be as large."""

    classes: int

    @nn.compact
    def __call__(self, label, *, train):
        rows = Embed(3, classes=self.classes, reparam=SpectralNorm, name="rows")(label)
        mixed = jnp.concatenate([rows, jax.nn.one_hot(label, self.classes)], -1)
        return nn.Dense(8, name="mixed")(mixed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled(TinyGAN):
    """TinyGAN with a network that knows classes; by default as many as other layers have units."""

    classes: int = 8

    def data(self):
        return ({"image": Points(), "label": Label(classes=self.classes)},)

    def networks(self):
        return {**super().networks(), "table": Table(self.classes)}

    def inputs(self):
        return {**TinyGAN().inputs(), "table": (jnp.zeros(1, jnp.int32),)}


HERE = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")
THERE = ("hen", "cow", "ant", "bee", "cat")


@pytest.fixture(scope="module")
def lender():
    """Averages differ from weights, as after training."""
    state = jaxgan.init(Labelled(classes=5), seed=7, mesh=make_mesh(1, 1))
    ema = jax.tree.map(lambda x: x + 0.5, state.ema)
    return dataclasses.replace(state, ema=ema, step=state.step + 3)


def begin(system, lender, classes, mesh=None):
    fresh = jaxgan.init(system, seed=0, mesh=mesh or make_mesh(1, 1))
    before = jax.device_get(fresh)
    return before, transfer(system, fresh, lender, {"label": classes})


@pytest.mark.parametrize("devices", [1, 8])
def test_rows_of_classes_are_taken_by_name_and_the_rest_bit_for_bit(lender, devices):
    named = Classes(here=HERE, there=THERE)
    before, begun = begin(Labelled(), lender, named, make_mesh(devices, 1))
    after, theirs = jax.device_get((begun.state, lender))
    for part in ("params", "stats", "ema"):
        mine, its = ({**getattr(each, part)} for each in (after, theirs))
        mine.pop("table", None), its.pop("table", None)
        jax.tree.map(np.testing.assert_array_equal, mine, its)
    expected = before.params["table"]["rows"]["kernel"].copy()
    for number, name in enumerate(HERE):
        if name in THERE:
            expected[number] = theirs.params["table"]["rows"]["kernel"][THERE.index(name)]
    np.testing.assert_array_equal(after.params["table"]["rows"]["kernel"], expected)
    for name in ("step", "opt"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(before, name))
    assert begun.left[-1] == (
        "label: 4 of 8 classes taken, by their names; anew: dog, eel, fox, gnu"
    )
    mixed = "table/mixed/kernel: (11, 8) here, (8, 8) there, in which classes are mixed with others"
    assert mixed in begun.left
    assert begun.taken + len(begun.left) - 1 == begun.of


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (Classes(here=HERE), "the names of its classes are not known there"),
        (Classes(there=THERE), "the names of its classes are not known here"),
        (Classes(), "the names of its classes are not known on both sides"),
        (Classes(here=HERE, there=tuple("vwxyz")), "without a class in common"),
    ],
)
def test_tables_of_other_classes_are_not_taken_and_said(lender, classes, said):
    before, begun = begin(Labelled(), lender, classes)
    np.testing.assert_array_equal(
        begun.state.params["table"]["rows"]["kernel"], before.params["table"]["rows"]["kernel"]
    )
    assert (
        f"table/rows/kernel: (8, 3) here, (5, 3) there; {said}".replace("; w", ", w") in begun.left
    )


def test_as_many_classes_in_another_order_are_not_mixed_up(lender):
    """No shape differs, and channels as many as classes are left in their order."""
    shuffled = THERE[::-1]
    _, begun = begin(Labelled(classes=5), lender, Classes(here=shuffled, there=THERE))
    rows = begun.state.params["table"]["rows"]["kernel"]
    np.testing.assert_array_equal(rows, lender.params["table"]["rows"]["kernel"][::-1])
    np.testing.assert_array_equal(
        begun.state.params["discriminator"]["hidden"]["kernel"],
        lender.params["discriminator"]["hidden"]["kernel"],
    )
    _, begun = begin(Labelled(classes=5), lender, Classes(alike=True))
    assert begun.left == ()
    assert begun.taken == begun.of


def test_what_differs_is_listed_and_nothing_in_common_is_refused(lender):
    _, begun = begin(TinyGAN(latent=6), lender, Classes())
    assert begun.left[0] == "generator/hidden/kernel: (6, 8) here, (4, 8) there"
    assert "ema generator/params/hidden/kernel: (6, 8) here, (4, 8) there" in begun.left
    assert "table/rows/kernel: (5, 3) there, nothing here" in begun.left
    with pytest.raises(UserError, match="no array of the same name and shape"):
        transfer(
            TinyGAN(),
            jaxgan.init(TinyGAN(), mesh=make_mesh(1, 1)),
            dataclasses.replace(lender, params={}, stats={}, ema={}),
            {},
        )


def experiment(**changes):
    settings = {
        "system": TinyGAN(),
        "data": Data(source="ring"),
        "batch": 16,
        "steps": 2,
        "mesh": Mesh(data=1),
        "checkpoint": Checkpoint(every=100),
        "log": Log(every=100, samples=10**6, grid=16),
    }
    return Experiment(**{**settings, **changes})


def said_by(experiment, folder):
    console = Console(file=io.StringIO(), width=200)
    train(experiment, folder, console=console)
    return console.file.getvalue().splitlines()


FROZEN = ("discriminator:hidden", "generator:*/bias")


def test_every_training_says_first_where_it_begins_and_frozen_parameters_stay(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    assert said_by(experiment(), a)[0].startswith(f"{a}: from scratch")
    tuned = experiment(init=str(a), freeze=FROZEN)
    assert (
        said_by(tuned, b)[0] == f"{b}: from {a} at step 2: 26 of 26 arrays; optimisers start anew"
    )
    assert json.loads((b / "init.json").read_text())["step"] == 2
    began, ended = (Run(folder).state.params for folder in (a, b))
    moved = {
        jax.tree_util.keystr(path, simple=True, separator="/"): bool(np.any(x != y))
        for (path, x), y in zip(
            jax.tree_util.tree_leaves_with_path(ended), jax.tree.leaves(began), strict=True
        )
    }
    moved.pop("discriminator/out/bias")  # whose gradient a hinge often cancels
    assert moved == {
        "discriminator/hidden/bias": False,
        "discriminator/hidden/kernel": False,
        "discriminator/out/kernel": True,
        "generator/hidden/bias": False,
        "generator/hidden/kernel": True,
        "generator/norm/bias": False,
        "generator/norm/scale": True,
        "generator/out/bias": False,
        "generator/out/kernel": True,
    }
    assert said_by(tuned, b)[0] == f"{b}: resuming at step 2"
    for changed in ({"init": None}, {"freeze": FROZEN[:1]}):
        with pytest.raises(UserError, match=r"(init: None|freeze: .*) here, .* in the run"):
            train(dataclasses.replace(tuned, **changed), b, console=Console(quiet=True))


def test_a_run_that_cannot_lend_is_told_before_anything_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(to_json(experiment()))
    for name, message in (("none", "--init: .*none does not exist"), ("empty", "no checkpoint")):
        with pytest.raises(UserError, match=message):
            train(
                experiment(init=str(tmp_path / name)), tmp_path / "e", console=Console(quiet=True)
            )
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("discriminato", "no network 'discriminato'.*did you mean discriminator"),
        ("discriminator:hiden", "no parameters 'hiden'; did you mean hidden"),
        ("discriminator:hid", "no parameters 'hid'"),
        ("discriminator:x*", r"no parameters 'x\*'; it has hidden, out"),
    ],
)
def test_freezing_nothing_is_refused(pattern, message):
    with pytest.raises(UserError, match=message):
        jaxgan.make_step(TinyGAN(), freeze=(pattern,))
    with pytest.raises(UserError, match="names all parameters"):
        jaxgan.make_step(TinyGAN(), freeze=("discriminator", "generator"))


def test_a_stage_that_begins_moves_no_frozen_parameters():
    mesh = make_mesh(1, 1)
    state = jaxgan.init(TinyGAN(), mesh=mesh)
    before = jax.device_get(state.params)
    stage = Stage(
        players=stages_of(TinyGAN())[0].players,
        enter=lambda state, batch, key: jax.tree.map(lambda x: x + 1, state),
    )
    key = jax.device_put(jax.random.key(0), mesh.devices.item())
    after = _entered(stage, state, {}, key, mesh, ("discriminator",)).params
    jax.tree.map(np.testing.assert_array_equal, after["discriminator"], before["discriminator"])
    jax.tree.map(
        np.testing.assert_array_equal,
        after["generator"],
        jax.tree.map(lambda x: x + 1, before["generator"]),
    )


def test_networks_without_a_start_lend_nothing():
    """Of an imported generator, whose discriminator no file held."""
    lent = jax.device_get(jaxgan.init(TinyGAN(), seed=7))
    blank = jax.tree.map(np.zeros_like, lent.params["discriminator"])
    lent = dataclasses.replace(lent, params={**lent.params, "discriminator": blank})
    before, begun = begin(TinyGAN(), lent, Classes())
    assert [line for line in begun.left if line.startswith("discriminator")]
    for name, expected in (("discriminator", before.params), ("generator", lent.params)):
        jax.tree.map(np.testing.assert_array_equal, begun.state.params[name], expected[name])
