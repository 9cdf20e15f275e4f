"""Settings of BigGAN that its paper reports as not helping: each changes what it says, no more."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import Data, Experiment, UserError, init, make_step
from jaxgan.config import from_json, to_json
from jaxgan.convert import module_of
from jaxgan.nn.initializers import normal
from jaxgan.nn.resample import downsample, upsample
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.system import stages_of
from jaxgan.systems.biggan import NEGATIVE, BigGAN, Discriminator
from jaxgan.systems.biggan_deep import BigGANDeep
from jaxgan.systems.common.growing import faded
from jaxgan.view import View
from tests.systems.test_biggan import LABEL, SMALLEST, TINY, Z

SETTINGS = {
    "discriminator_norm": "batch",
    "shared_projection": True,
    "generator_dilation": 2,
    "discriminator_dilation": 2,
    "double_depth": True,
    "growing": 4,
}
NORMS = {"block1/norm2": 2 * 32} | {f"block{k}/norm{n}": 2 * 32 for k in (2, 3, 4) for n in (1, 2)}
TWO_CONVS = 2 * (9 * 32 * 32 + 32)
ATTENTION = 1_281  # 1.25 c^2 + 1
ADDED = {
    "discriminator_norm": ({}, NORMS),
    "shared_projection": ({}, {"embed": (16 - 10) * 32}),
    "generator_dilation": ({}, {}),
    "discriminator_dilation": ({}, {}),
    "double_depth": (
        {f"more{k}": TWO_CONVS + 2 * 2 * (16 + 5) * 32 for k in (1, 2, 3)},
        {f"more{k}": TWO_CONVS for k in (1, 2)},
    ),
    "growing": (
        {f"norm{s}": 2 * 32 for s in (8, 16)} | {f"conv{s}": 9 * 32 * 3 + 3 for s in (8, 16)},
        {f"image{s}": 3 * 32 + 32 for s in (8, 16)},
    ),
}


def changed(**settings):
    return dataclasses.replace(TINY, **settings)


def sizes(system):
    """{network: {path of a parameter: its size}}."""
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    return {
        name: {
            "/".join(key.key for key in path): leaf.size
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for name, tree in params.items()
    }


def test_they_are_all_off_by_default():
    assert set(SETTINGS) == set(NEGATIVE)
    assert TINY.negative() == ()
    for name, value in SETTINGS.items():
        assert changed(**{name: value}).negative() == (name,)


@pytest.mark.parametrize("name", SETTINGS)
def test_parameters_that_a_setting_adds(name):
    before, after = sizes(TINY), sizes(changed(**{name: SETTINGS[name]}))
    counts = {network: sum(tree.values()) for network, tree in before.items()}
    assert counts == {"generator": 72_164, "discriminator": 72_293}
    for network, added in zip(("generator", "discriminator"), ADDED[name], strict=True):
        more = dict(after[network])
        for path, size in before[network].items():
            more[path] -= size
        got = {
            place: sum(size for path, size in more.items() if path.startswith(f"{place}/"))
            for place in added
        }
        assert got == added
        assert sum(more.values()) == sum(added.values())


def test_norms_of_classes_have_a_table_each():
    norm = changed(discriminator_norm="class")
    assert sum(sizes(norm)["discriminator"].values()) == 72_293 + 10 * sum(NORMS.values())


def test_each_attention_of_several_is_named_by_its_size():
    before = sizes(TINY)
    after = sizes(changed(generator_attention=(8, 16)))
    assert after["discriminator"] == before["discriminator"]
    renamed = {path.replace("attention/", "attention16/") for path in before["generator"]}
    more = after["generator"].keys() - renamed
    assert {path.split("/")[0] for path in more} == {"attention8"}
    assert sum(after["generator"][path] for path in more) == ATTENTION
    assert renamed <= after["generator"].keys()


GROWING = dataclasses.replace(SMALLEST, growing=4, shared_projection=True)


@pytest.fixture(scope="module")
def state():
    return init(GROWING)


def network(name, state):
    """Applies a network of `GROWING` in evaluation mode."""

    def apply(*inputs, **options):
        variables = {"params": state.params[name], **state.stats[name]}
        out = GROWING.networks()[name].apply(variables, *inputs, train=False, **options)
        return out[0] if name == "generator" else out

    return apply


@pytest.mark.parametrize("norm", ["none", "batch", "class"])
def test_images_of_a_batch_meet_in_the_norms_alone(norm, rng):
    judge = Discriminator(
        channels=(4, 4),
        halvings=1,
        classes=3,
        attention=(),
        equal_shortcuts=True,
        initializer=normal(0.3),
        reparam=SpectralNorm,
        norm=norm,
    )
    x = rng.uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    label = np.array([0, 1, 2])
    variables = jax.jit(lambda key: judge.init(key, x, label, train=True))(jax.random.key(0))

    def logits(x):
        return judge.apply(variables, x, label, train=True, mutable=["batch_stats"])[0]

    y = x.copy()
    y[1] = -y[1]
    before, after = logits(x), logits(y)
    assert (abs(before[0] - after[0]) > 1e-4) == (norm != "none")


def test_the_shared_embedding_is_a_constant_to_the_discriminator(state, rng):
    """<W e(y), phi> with the generator's e; no loss of D's logits moves e but by the images."""
    label, given = jnp.array([2, 0]), {"label": jnp.array([2, 0])}

    def vectors(params):
        return GROWING._labels(View(GROWING.networks(), params, state.stats, train=True), given)[1]

    e = vectors(state.params)
    np.testing.assert_array_equal(e, state.params["generator"]["shared"]["kernel"][label])
    slopes = jax.grad(lambda params: vectors(params).sum())(state.params)
    assert not any(x.any() for x in jax.tree.leaves(slopes))
    judge = network("discriminator", state)
    x = rng.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    by_number, mixed = judge(x, label, e), judge(x, label, e[::-1])
    assert abs(by_number - mixed).min() > 1e-4
    middle = judge(x, label, (e + e[::-1]) / 2)  # it is linear
    np.testing.assert_allclose(middle, (by_number + mixed) / 2, rtol=1e-4, atol=1e-5)


def test_a_new_size_begins_as_the_smaller_one_and_ends_alone(state, rng):
    make, judge = (network(name, state) for name in ("generator", "discriminator"))
    z, label = Z[:, :8], LABEL % 3
    e = state.params["generator"]["shared"]["kernel"][label]
    images = {side: make(z, label, resolution=side) for side in (8, 16, 32)}
    np.testing.assert_array_equal(make(z, label), images[32])
    for side in (16, 32):
        for fade, want in ((0.0, upsample(images[side // 2])), (1.0, images[side])):
            got = make(z, label, resolution=side, fade=fade)
            np.testing.assert_allclose(got, want, atol=1e-6)
        x = rng.uniform(-1, 1, (3, side, side, 3)).astype(np.float32)
        for fade, want in ((0.0, judge(downsample(x), label, e)), (1.0, judge(x, label, e))):
            np.testing.assert_allclose(judge(x, label, e, fade=fade), want, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(faded(x, 1.0), x)


def test_the_schedule_of_growing():
    system = changed(growing=4)
    stages = [(stage.resolution, stage.steps) for stage in stages_of(system)]
    assert stages == [(8, 4), (16, 4), (32, None)]

    def size(step, side):
        view = View(system.networks(), {}, {}, train=True, step=step, resolution=side)
        return system._size(view)

    assert size(3, 8) == {"resolution": 8, "fade": None}
    assert [float(size(step, 16)["fade"]) for step in (4, 5, 6, 7)] == [0, 0.5, 1, 1]
    assert float(size(9, 32)["fade"]) == 0.5
    assert [stage.resolution for stage in stages_of(TINY)] == [None]
    assert set(system.uses()) == {"generate", "judge"}


@pytest.mark.parametrize(
    "settings",
    [
        {
            "discriminator_norm": "class",
            "double_depth": True,
            "shared_projection": True,
            "generator_dilation": 2,
            "discriminator_dilation": 2,
            "generator_attention": (8, 16),
        },
        {"growing": 1, "discriminator_norm": "batch"},
    ],
    ids=lambda settings: ", ".join(settings),
)
def test_a_step_of_each(settings, rng):
    """All kernels of both networks move, but those of sizes to come."""
    system = dataclasses.replace(SMALLEST, discriminator_updates=1, **settings)
    mesh = make_mesh(1)
    state, step = init(system, mesh=mesh), make_step(system, mesh=mesh)
    side = stages_of(system)[0].resolution or 32
    batch = {
        "image": rng.uniform(-1, 1, (4, side, side, 3)).astype(np.float32),
        "label": np.array([0, 1, 2, 0]),
    }
    before = jax.device_get(state.params)
    state, metrics = step(state, jax.device_put(batch, batch_sharding(mesh, leading=0)))
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(metrics))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, jax.device_get(state.params))
    for name, layers in moved.items():
        for path, each in jax.tree_util.tree_leaves_with_path(layers):
            first, *_, last = (key.key for key in path)
            if first in GROWN.get(name, ()) and system.growing:
                assert not each  # of sizes to come
            elif last == "kernel" and not first.startswith("attention"):
                assert each, path
    if system.discriminator_norm != "none":
        running = state.stats["discriminator"]["batch_stats"]
        assert all(abs(x["mean"]).max() > 0 for x in running["block3"].values())


GROWN = {
    "generator": ("block2", "block3", "norm", "conv", "norm16", "conv16", "attention"),
    "discriminator": ("block1", "block2", "image16"),
}


def test_runs_with_attention_as_a_number_are_still_read():
    experiment = Experiment(system=changed(discriminator_attention=()), data=Data(source="digits"))
    facts = json.loads(to_json(experiment))
    assert facts["system"]["generator_attention"] == [16]
    assert from_json(json.dumps(facts)) == experiment
    facts["system"] |= {"generator_attention": 16, "discriminator_attention": 0}
    for name in NEGATIVE:
        del facts["system"][name]
    assert from_json(json.dumps(facts)) == experiment


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0, "discriminator_norm": "class"}, "classes is 0: choose batch"),
        ({"classes": 0, "shared_projection": True}, "no class embedding to share"),
        ({"generator_attention": (16, 8)}, "is 16 8, .* the smallest first"),
        ({"generator_attention": (8, 8)}, "is 8 8, .* the smallest first"),
        ({"generator_attention": 16}, "is 16: it must be a tuple of numbers"),
        ({"generator_dilation": 0}, "--system.generator-dilation is 0"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(UserError, match=message) as error:
        changed(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_other_networks_have_none_of_them(name):
    value = {name: SETTINGS[name]}
    with pytest.raises(UserError, match=f"BigGANDeep has no {name}"):
        BigGANDeep(**value)
    for code in ("biggan_pytorch", "biggan_studiogan"):
        with pytest.raises(UserError, match=f"no .*{name}, which this run has"):
            module_of(code).table(BigGAN(**value), "generator")
