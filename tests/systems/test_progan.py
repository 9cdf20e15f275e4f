"""Growing: schedule, continuity at every border, the stream of images, devices and resuming."""

import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxgan import Data, Experiment, Log, Mesh, UserError, init, make_step
from jaxgan.data import open_source
from jaxgan.describe import parameter_counts
from jaxgan.nn.resample import downsample, upsample
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.run import Run, train
from jaxgan.run.batches import stage_feed
from jaxgan.system import stages_of
from jaxgan.systems.common.growing import faded, forget_moments
from jaxgan.systems.progan import ProGAN
from jaxgan.training.apply import apply, evaluation_view, resolution_at
from jaxgan.training.digest import state_sha256
from jaxgan.view import View

# Levels of 4 and 8 pixels: steps 0 to 2; 3 to 8, of which those before 7 fade.
TINY = ProGAN(
    shape=(8, 8, 1),
    latent=6,
    width=64,
    max_channels=8,
    batches=(16, 8),
    rates=(1e-3, 2e-3),
    fade_kimg=0.032,
    train_kimg=0.048,
)
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def state():
    return init(dataclasses.replace(TINY, shape=(16, 16, 3), batches=(16, 8, 4), rates=(1e-3,) * 3))


def network(name, state):
    system = dataclasses.replace(TINY, shape=(16, 16, 3), batches=(16, 8, 4), rates=(1e-3,) * 3)
    variables = {"params": state.params[name]}

    def apply(x, **options):
        return system.networks()[name].apply(variables, x, train=True, **options)

    return apply


@pytest.mark.parametrize(
    ("side", "generator", "discriminator"),
    [
        (256, 23_044_309, 23_052_353),
        (128, 22_933_394, 22_941_313),
        (64, 22_490_383, 22_498_049),
        (32, 20_719_628, 20_726_785),
    ],
)
def test_parameter_counts_at_other_sizes(side, generator, discriminator):
    counts = parameter_counts(ProGAN(shape=(side, side, 3)))
    assert counts == {"generator": generator, "discriminator": discriminator}


def test_the_schedule_of_the_paper():
    """600 thousand images at 4x4; then 600 to fade in and 600 more, of each resolution."""
    system = ProGAN()
    seen, widths = 0, system.widths()
    assert widths == (512, 512, 512, 512, 256, 128, 64, 32, 16)
    for level, stage in zip(system.levels(), stages_of(system), strict=True):
        assert (stage.resolution, stage.batch, stage.steps) == (
            level.resolution,
            level.batch,
            level.steps,
        )
        assert level.begin == pytest.approx(system.iterations(seen), abs=128)
        assert level.fade * level.batch == pytest.approx(600_000 if seen else 0, abs=level.batch)
        seen += 1200 if seen else 600
    assert [level.batch for level in system.levels()] == [128, 128, 128, 64, 32, 16, 8, 4, 4]
    last = system.levels()[-1]
    assert system.iterations(9_000 + 12) == pytest.approx(last.begin + 3000, abs=256)
    assert (system.iterations(0.2), system.iterations(9_100) > last.begin) == (2, True)
    assert last.rate == 1.5e-3


@pytest.mark.parametrize("side", [8, 16])
def test_a_fade_begins_with_the_lower_network_exactly(state, rng, side):
    generator, discriminator = (network(name, state) for name in ("generator", "discriminator"))
    z = rng.normal(size=(4, 6)).astype(np.float32)
    low = generator(z, resolution=side // 2)
    np.testing.assert_array_equal(generator(z, resolution=side, fade=0.0), upsample(low))
    x = rng.uniform(-1, 1, (4, side, side, 3)).astype(np.float32)
    np.testing.assert_array_equal(discriminator(x, fade=0.0), discriminator(downsample(x)))
    np.testing.assert_array_equal(faded(x, 0.0), upsample(downsample(x)))


def test_a_fade_ends_with_the_higher_network_and_is_continuous(state, rng):
    generator, discriminator = (network(name, state) for name in ("generator", "discriminator"))
    z = rng.normal(size=(4, 6)).astype(np.float32)
    x = rng.uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32)
    for made, at in (
        (lambda **o: generator(z, resolution=16, **o), "generator"),
        (lambda **o: discriminator(x, **o), "discriminator"),
        (lambda fade=None: faded(x, fade), "reals"),
    ):
        np.testing.assert_array_equal(made(fade=1.0), made(), err_msg=at)
        for fade in (0.0, 0.999):
            near = jnp.abs(made(fade=fade + 1e-3) - made(fade=fade)).max()
            assert 0 < near < 0.02, at
    np.testing.assert_array_equal(generator(z), generator(z, resolution=16))


def test_layers_to_come_have_no_gradient(state, one_device):
    """And Adam leaves them where they are, to the last bit."""
    system = TINY
    step = make_step(system, stages_of(system)[0], seed=3, mesh=one_device)
    before = init(system, mesh=one_device)
    start = jax.device_get(before.params)
    batch = {"image": np.linspace(-1, 1, 16 * 16, dtype=np.float32).reshape(16, 4, 4, 1)}
    after, _ = step(before, batch)
    for name in ("generator", "discriminator"):
        for layer, values in after.params[name].items():
            same = [
                np.array_equal(a, b)
                for a, b in zip(
                    jax.tree.leaves(values), jax.tree.leaves(start[name][layer]), strict=True
                )
            ]
            assert any(same) == layer.endswith(("8", "8_0", "8_1")), layer


def test_the_fade_follows_the_step_and_the_view_knows_the_resolution():
    level = TINY.levels()[1]
    assert (level.begin, level.fade, stages_of(TINY)[0].steps) == (3, 4, 3)
    for step, fade in ((3, 0.0), (4, 0.25), (7, 1.0), (100, 1.0)):
        view = View({}, {}, {}, train=True, step=jnp.int32(step), resolution=8)
        assert TINY.size(view)["fade"] == fade
    assert TINY.size(View({}, {}, {}, train=True, resolution=4)) == {"resolution": 4, "fade": None}


def test_samples_have_the_resolution_of_the_stage():
    """A State on the border still belongs to the stage that ended there."""
    state = init(TINY)
    for step, side in ((0, 4), (3, 4), (4, 8), (99, 8)):
        at = dataclasses.replace(state, step=jnp.int32(step))
        assert resolution_at(TINY, at) == side
        assert evaluation_view(TINY, at).resolution == side
        made = apply(TINY, at, "generate", numbers=3, chunk=4).made["image"]
        assert made.shape == (3, side, side, 1)
    with pytest.raises(ValueError, match="ProGAN grows"):
        jax.eval_shape(lambda s: evaluation_view(TINY, s).step, state)


def test_moments_are_forgotten_at_a_new_resolution():
    state = init(TINY)
    moved = dataclasses.replace(state, opt=jax.tree.map(lambda x: x + 1, state.opt))
    jax.tree.map(
        np.testing.assert_array_equal, forget_moments(moved, {}, jax.random.key(0)).opt, state.opt
    )
    assert [stage.enter for stage in stages_of(TINY)] == [None, forget_moments]


def test_drift_and_slope():
    """The loss is made of its parts, with deviations relative to the slope."""
    system = dataclasses.replace(TINY, slope=3.0, drift=0.5)
    state = init(system)
    view = View(system.networks(), state.params, state.stats, train=True, step=4, resolution=8)
    x = np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 1)).astype(np.float32)
    loss, metrics = jax.jit(
        lambda x: system.discriminator_loss(view, {"image": x}, jax.random.key(0))
    )(x)
    scores = view("discriminator", faded(x, 0.25), fade=0.25)
    parts = metrics["fake_logits"] - metrics["real_logits"]
    parts += 10 / 9 * metrics["penalty"] + 0.5 * jnp.mean(scores**2)
    np.testing.assert_allclose(loss, parts, rtol=1e-5)
    assert metrics["fade"] == 0.25


def experiment(**changes):
    settings = {
        "system": TINY,
        "data": Data(source="digits"),
        "batch": 8,
        "steps": 9,
        "seed": 3,
        "mesh": Mesh(data=1),
        "log": Log(every=3, samples=4, grid=4),
    }
    return Experiment(**{**settings, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of both levels, and what it said."""
    said = io.StringIO()
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return train(experiment(), folder, console=Console(file=said, width=200)), said.getvalue()


def test_a_run_tells_stage_resolution_and_fade(whole):
    run, said = whole
    assert "stage 0, 4x4  " in said
    assert "stage 1, 8x8 fading in 50%" in said
    assert "stage 1, 8x8  " in said
    assert run.gives("generate")["image"].shape == (8, 8, 1)
    assert run.sample(2).shape == (2, 8, 8, 1)
    rows = [json.loads(row) for row in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["stage"], row["resolution"]) for row in rows] == [
        (1, 0, 4),
        (3, 0, 4),
        (6, 1, 8),
        (9, 1, 8),
    ]


def test_stages_of_other_batches_share_the_stream_of_images():
    """Stage 1 begins at step 3, after 3 batches of 16."""
    source = open_source("digits")
    first, second = (stage_feed(experiment(), source, number) for number in (0, 1))
    for feed, expected in ((first, (0, 0, 16)), (second, (3, 48, 8))):
        assert (feed.order.begin, feed.order.seen, feed.order.batch) == expected
    assert second[3]["image"].shape == (8, 8, 8, 1)
    low, high = first[2]["image"], dataclasses.replace(first, groups=second.groups)[2]["image"]
    # Cells are rounded to whole levels of 255, so by half of one at most.
    np.testing.assert_allclose(low, high.reshape(16, 4, 2, 4, 2, 1).mean((2, 4)), atol=1.001 / 255)


@pytest.mark.parametrize("stop", [3, 5, 8], ids=["border", "fading", "after"])
def test_resumed_equals_uninterrupted(whole, tmp_path, stop):
    train(experiment(steps=stop), tmp_path / "part", console=QUIET)
    shape = Run(tmp_path / "part").gives("generate")["image"].shape
    assert shape == ((4, 4, 1) if stop == 3 else (8, 8, 1))
    resumed = train(experiment(), tmp_path / "part", console=QUIET)
    assert state_sha256(resumed.state) == state_sha256(whole[0].state)


@pytest.mark.parametrize("stop", [3, 5], ids=["border", "fading"])
def test_resumed_on_other_devices_agrees(whole, tmp_path, stop):
    train(experiment(steps=stop, mesh=Mesh(data=8)), tmp_path / "part", console=QUIET)
    resumed = train(experiment(mesh=Mesh(data=2)), tmp_path / "part", console=QUIET)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        jax.device_get(resumed.state),
        jax.device_get(whole[0].state),
    )


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_equal_one_at_a_fade(rng):
    # As the runs below, so that they share compiled programs.
    images = rng.uniform(-1, 1, (8, 8, 8, 1)).astype(np.float32)
    states = []
    for mesh in (make_mesh(1), make_mesh(8)):
        state = dataclasses.replace(init(TINY, mesh=mesh), step=jnp.int32(4))
        step = make_step(TINY, stages_of(TINY)[1], seed=3, mesh=mesh)
        batch = {"image": jax.device_put(images, batch_sharding(mesh, leading=0))}
        for _ in range(3):
            state, metrics = step(state, batch)
        states.append(jax.device_get((state, metrics)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (24, 24, 3)}, "squares of 8, 16, 32"),
        ({"start": 16}, "begins at one of 4, 8 pixels"),
        ({"batches": (16,)}, "one each for 4, 8"),
        ({"train_kimg": 0.0}, "--system.train-kimg is 0: it must be above 0"),
        (
            {"batches": (16, 6)},
            "6 for 8 pixels, but minibatch standard deviation takes groups of 4",
        ),
        ({"slope": 0.0}, "slope is .*: it must be above 0"),
    ],
)
def test_schedules_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **changes)


def test_a_batch_that_no_stage_takes_is_refused(tmp_path):
    with pytest.raises(UserError, match="8 in the last"):
        train(experiment(batch=32), tmp_path / "run", console=QUIET)
