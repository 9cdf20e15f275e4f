"""SinGAN: its pyramid, its networks and penalty against PyTorch, its paths, and staged runs."""

import dataclasses
import io
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from jaxgan import Data, Experiment, Log, Mesh, UserError, init, penalties
from jaxgan.describe import describe, parameter_counts
from jaxgan.latent.one_image import reconstruct
from jaxgan.parallel.mesh import make_mesh
from jaxgan.run import Run, train
from jaxgan.system import given_by, stages_of, use_of
from jaxgan.systems.singan import Discriminator, Generator, Injection, SinGAN, Size, resample
from jaxgan.training.apply import apply, evaluation_view
from jaxgan.training.digest import state_sha256
from jaxgan.view import View
from tests.reference import singan as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

# Scales of 12x15, 15x18 and 18x22.
TINY = SinGAN(
    shape=(18, 22, 3),
    shortest=12,
    factor=0.5,
    width=4,
    iterations=2,
    updates=1,
    learning_rate=0.05,
)
QUIET = Console(file=io.StringIO())


@pytest.mark.parametrize(
    ("width", "generator", "discriminator"),
    [(32, 29_763, 29_185), (64, 114_819, 113_665), (128, 450_819, 448_513)],
)
def test_parameter_counts(width, generator, discriminator):
    system = dataclasses.replace(TINY, width=width)
    assert parameter_counts(system) == {
        f"{kind}_{scale}": count
        for scale in range(3)
        for kind, count in (("generator", generator), ("discriminator", discriminator))
    }


@pytest.mark.parametrize(
    ("size", "count", "ratio"),
    [((250, 250), 11, 0.7943), ((188, 250), 10, 0.7992), ((128, 128), 8, 0.7919)],
)
def test_scales_are_those_of_the_code(size, count, ratio):
    sizes = SinGAN(shape=(*size, 3)).sizes()
    assert len(sizes) == count
    assert sizes[-1] == size
    assert min(sizes[0]) == 25
    for scale, found in enumerate(sizes):
        exact = [side * ratio ** (count - 1 - scale) for side in size]
        assert all(-0.1 < side - x < 1.1 for side, x in zip(found, exact, strict=True))


def test_widths_double_every_four_scales():
    assert SinGAN().widths() == (32, 32, 32, 32, 64, 64, 64, 64, 128, 128, 128)
    assert SinGAN(max_width=48).widths()[3:6] == (32, 48, 48)


def test_networks_equal_pytorchs(rng):
    noise, prior = (rng.normal(size=(2, 13, 17, 3)).astype(np.float32) for _ in range(2))
    for theirs, ours, inputs in (
        (reference.Generator(8), Generator(8, 3), (noise, prior)),
        (reference.Discriminator(8), Discriminator(8), (prior,)),
    ):
        randomise(theirs)
        variables = to_flax(theirs)
        for mode in (False, True):
            expected = theirs.train(mode)(*map(images_to_torch, inputs))
            expected = images_from_torch(expected) if expected.ndim == 4 else expected.detach()
            apply = jax.jit(partial(ours.apply, train=mode, mutable=["batch_stats"]))
            found, _ = apply(variables, *inputs)
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_penalty_is_that_of_pytorch(rng):
    """The norm of each pixel's gradient, through batch norm, and its gradient by the weights."""
    theirs = randomise(reference.Discriminator(4)).train()
    variables = to_flax(theirs)
    real, fake = (rng.uniform(-1, 1, (1, 14, 15, 3)).astype(np.float32) for _ in range(2))
    x = images_to_torch(0.3 * real + 0.7 * fake).requires_grad_()
    (slope,) = torch.autograd.grad(theirs(x).sum(), x, create_graph=True)
    expected = ((slope.norm(2, dim=1) - 1) ** 2).mean()
    expected.backward()

    def penalty(params):
        stats = variables["batch_stats"]
        return penalties.gradient_penalty(
            lambda x: Discriminator(4).apply(
                {"params": params, "batch_stats": stats}, x, train=True
            ),
            real,
            fake,
            jnp.array([0.3]),
            pixels=True,
        )

    found, grads = jax.jit(jax.value_and_grad(penalty))(variables["params"])
    np.testing.assert_allclose(found, expected.item(), rtol=1e-4)
    for layer in ("conv1", "conv3", "conv5"):
        theirs_of = theirs.patches.get_submodule(layer).weight.grad.permute(2, 3, 1, 0)
        np.testing.assert_allclose(
            grads["patches"][layer]["kernel"], theirs_of, atol=1e-3 * float(theirs_of.abs().max())
        )


def test_the_receptive_field_is_eleven_pixels():
    apply, variables = Discriminator(4).apply, to_flax(randomise(reference.Discriminator(4)))
    x = jnp.linspace(-1, 1, 21 * 21 * 3).reshape(1, 21, 21, 3)
    slope = jax.jit(jax.grad(lambda x: apply(variables, x, train=False)[0, 5, 5]))(x)
    rows, columns = np.nonzero(np.abs(slope[0]).sum(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 15, 5, 15)


def batch_of(scale, rng):
    return {"image": rng.uniform(-1, 1, (1, *TINY.sizes()[scale], 3)).astype(np.float32)}


@pytest.fixture(scope="module")
def entered():
    """A State at the beginning of scale 1, and what it was."""
    before = init(TINY)
    # Generator 0 away from its start, and not like generator 1.
    params = jax.tree.map(lambda x: 1.5 * x + 0.01, before.params["generator_0"])
    before = dataclasses.replace(before, params={**before.params, "generator_0": params})
    batch = batch_of(1, np.random.default_rng(1))
    return before, jax.jit(stages_of(TINY)[1].enter)(before, batch, jax.random.key(0)), batch


def drawn(state, latents):
    return jax.jit(lambda z: TINY.make(evaluation_view(TINY, state, (18, 22)), z))(latents)


def at(state, step):
    return dataclasses.replace(state, step=jnp.int32(step))


def test_a_scale_begins_with_the_networks_below(entered, monkeypatch):
    before, after, batch = entered
    for kind in ("generator", "discriminator"):
        jax.tree.map(
            np.testing.assert_array_equal, after.params[f"{kind}_1"], before.params[f"{kind}_0"]
        )
        jax.tree.map(
            np.testing.assert_array_equal, after.stats[f"{kind}_1"], before.stats[f"{kind}_0"]
        )
    # Unless they are wider.
    monkeypatch.setattr(SinGAN, "widths", lambda system: (4, 8, 8))
    wider = jax.jit(partial(TINY.enter, 1))(before, batch, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, wider.params, before.params)
    np.testing.assert_array_equal(wider.memory["noise_amp"], after.memory["noise_amp"])


def test_noise_is_a_tenth_of_what_the_enlarged_reconstruction_lacks(entered):
    before, after, batch = entered
    anchor = np.broadcast_to(before.memory["anchor"], (1, 12, 15, 3))
    variables = {"params": before.params["generator_0"], **before.stats["generator_0"]}
    below = jax.jit(
        lambda z: TINY.networks()["generator_0"].apply(variables, z, jnp.zeros_like(z), train=False)
    )(anchor)
    prior = np.asarray(resample(below, (15, 18)))
    amplitude = 0.1 * np.sqrt(np.mean((batch["image"].astype(np.float64) - prior) ** 2))
    np.testing.assert_allclose(after.memory["noise_amp"], [1, amplitude, 1], rtol=1e-5)
    np.testing.assert_allclose(after.memory["prior"]["1"], prior[0], atol=1e-6)


def test_enlarging_is_bicubic(rng):
    """Away from the borders, which Pillow treats alike, and from its rounding."""
    small = rng.integers(60, 200, (12, 15, 3)).astype(np.uint8)
    expected = Image.fromarray(small).resize((18, 15), Image.Resampling.BICUBIC)
    found = resample(small[None] / np.float32(127.5) - 1, (15, 18))[0]
    np.testing.assert_allclose((found + 1) * 127.5, np.asarray(expected), atol=2)


def test_the_reconstruction_path(entered):
    """Deterministic; where a generator gives 0, it is what is enlarged."""
    _, state, _ = entered
    view = evaluation_view(TINY, state, (18, 22))
    latents = TINY.reconstruction(view, 3)
    assert sum(map(np.count_nonzero, latents.values())) == 12 * 15
    first = drawn(state, latents)
    np.testing.assert_array_equal(first, drawn(state, latents))
    params = dict(state.params)
    for scale in (1, 2):
        patches = params[f"generator_{scale}"]["patches"]
        params[f"generator_{scale}"] = {
            "patches": {**patches, "conv5": jax.tree.map(jnp.zeros_like, patches["conv5"])}
        }
    silent = dataclasses.replace(state, params=params)
    low = drawn(state, {"z0": latents["z0"]})
    assert low.shape == (1, 12, 15, 3)
    np.testing.assert_allclose(
        drawn(silent, latents),
        resample(resample(low, (15, 18)), (18, 22)),
        atol=1e-6,
    )
    # Injected at a scale, an image is brought to the scale below and enlarged.
    image = jnp.linspace(-1, 1, 18 * 22 * 3).reshape(1, 18, 22, 3)
    given = {"image": image, "z2": latents["z2"]}
    made = apply(TINY, at(silent, 6), "inject", given, options=Injection(2), chunk=1).made["image"]
    np.testing.assert_allclose(made, resample(resample(image, (15, 18)), (18, 22)), atol=1e-6)


def test_noise_is_grey_in_the_coarsest_scale_alone(entered):
    _, state, _ = entered
    view = evaluation_view(TINY, state, (18, 22))
    latents = view.draw(TINY.latents(range(3)), jax.random.key(0), 2)
    noises = [TINY.noise_of(view, latents, scale) for scale in range(3)]
    assert [noise.shape for noise in noises] == [(2, *size, 3) for size in TINY.sizes()]
    grey = [bool((noise[..., 0] == noise[..., 1]).all()) for noise in noises]
    assert grey == [True, False, False]


def test_other_sizes_have_the_same_networks(entered):
    _, state, _ = entered
    assert TINY.sizes((18, 44)) == ((12, 30), (15, 36), (18, 44))
    for step, size in ((2, (12, 30)), (4, (15, 36)), (6, (18, 44))):
        made = apply(
            TINY, at(state, step), "generate", numbers=2, options=Size((18, 44)), chunk=2
        ).made["image"]
        assert made.shape == (2, *size, 3)
    with pytest.raises(UserError, match="too small"):
        apply(TINY, state, "generate", options=Size((5, 44)))
    # Of the trained size, it is what there is without.
    plain = apply(TINY, at(state, 6), "generate", numbers=2, chunk=2).made["image"]
    same = apply(TINY, at(state, 6), "generate", numbers=2, options=Size((18, 22)), chunk=2)
    np.testing.assert_array_equal(same.made["image"], plain)


@pytest.mark.parametrize(("step", "size"), [(0, (12, 15)), (3, (15, 18)), (6, (18, 22))])
def test_uses_work_at_every_scale(entered, rng, step, size):
    state, image = at(entered[1], step), rng.uniform(-1, 1, (1, *size, 3)).astype(np.float32)
    made = apply(TINY, state, "reconstruct", chunk=1).made
    latents = {name: z for name, z in made.items() if name != "image"}
    again = apply(TINY, state, "generate", latents, chunk=1).made["image"]
    np.testing.assert_allclose(made["image"], again, atol=1e-6)
    assert made["image"].shape == (1, *size, 3)
    assert apply(TINY, state, "inject", {"image": image}, chunk=1).made["image"].shape[1:3] == size
    # Scale 0 has no image below it.
    given = {"image": image, **latents}
    ours = apply(TINY, state, "inject", given, options=Injection(0), chunk=1).made["image"]
    np.testing.assert_allclose(ours, again, atol=1e-6)
    with pytest.raises(UserError, match="scale is 7: there are 0 to"):
        apply(TINY, state, "inject", given, options=Injection(7))
    enlarge = use_of(TINY, "enlarge")
    larger = dataclasses.replace(enlarge.options, factor=1.5)
    assert given_by(enlarge, larger, size)["image"].shape == (None, None, 3)
    images = [image[0], np.zeros((30, 20, 3), np.float32)]
    made = apply(TINY, state, "enlarge", {"image": images}, options=larger, chunk=1).made["image"]
    assert [x.shape[:2] for x in made] == [tuple(round(1.5 * n) for n in size), (45, 30)]
    with pytest.raises(UserError, match="goes from above 1 to 16"):
        apply(TINY, state, "enlarge", {"image": image}, options=type(larger)(factor=1.0))


def test_losses_are_made_of_their_parts(entered, rng):
    _, state, batch = entered
    view = View(
        TINY.networks(),
        state.params,
        state.stats,
        train=True,
        memory=state.memory,
        resolution=(15, 18),
    )

    @jax.jit
    def losses(batch):
        ours = TINY.discriminator_loss(1, view, batch, jax.random.key(0))
        made = dict(view.out)
        return ours, made, TINY.generator_loss(1, view, {**batch, **made}, jax.random.key(0))

    (loss, metrics), made, theirs = losses(batch)
    np.testing.assert_allclose(
        loss,
        metrics["fake_logits"] - metrics["real_logits"] + 0.1 * metrics["penalty"],
        rtol=1e-5,
    )
    assert made["prior"].shape == (1, 15, 18, 3)
    loss, metrics = theirs
    np.testing.assert_allclose(
        loss, metrics["adversarial"] + 10 * metrics["reconstruction"], rtol=1e-5
    )
    psnr = 10 * np.log10(4 / metrics["reconstruction"])
    np.testing.assert_allclose(metrics["psnr"], psnr, rtol=1e-5)


def test_the_step_size_falls_to_a_tenth_for_the_last_fifth():
    system = dataclasses.replace(TINY, iterations=10, updates=3, learning_rate=5e-4)
    stages = stages_of(system)
    player = stages[0].players[0]
    assert (player.repeats, stages[0].draws, stages[-1].steps) == (3, 1, 10)
    params = {"discriminator_0": jnp.zeros(())}
    state, sizes = player.optimizer.init(params), []
    for _ in range(30):
        updates, state = player.optimizer.update({"discriminator_0": jnp.ones(())}, state)
        sizes.append(-float(updates["discriminator_0"]))
    np.testing.assert_allclose(sizes, [5e-4] * 24 + [5e-5] * 6, rtol=1e-4)


def experiment(**changes):
    settings = {
        "system": TINY,
        "data": Data(source="image:china", resize=True),
        "batch": 1,
        "steps": 6,
        "mesh": Mesh(data=1),
        "log": Log(every=2, samples=2, grid=2),
    }
    return Experiment(**{**settings, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of all scales, and what it said."""
    said = io.StringIO()
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return train(experiment(), folder, console=Console(file=said, width=200)), said.getvalue()


def test_a_run_tells_scales_and_their_sizes(whole):
    run, said = whole
    assert all(f"stage {n}, {size}  " in said for n, size in enumerate(("12x15", "15x18", "18x22")))
    assert "image:china: 1 images, 427x640x3 made 18x22x3" in said
    rows = [json.loads(row) for row in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["stage"], row["height"], row["width"]) for row in rows] == [
        (1, 0, 12, 15),
        (2, 0, 12, 15),
        (4, 1, 15, 18),
        (6, 2, 18, 22),
    ]
    for step, (height, width) in ((2, (12, 15)), (4, (15, 18)), (6, (18, 22))):
        with Image.open(run.folder / "samples" / f"{step:08d}.png") as image:
            batch = width + 16 if step == 2 else 0  # the first has the real one on its left
            assert image.size == (batch + 2 * width + 2, height)
    assert run.sample(2).shape == (2, 18, 22, 3)
    assert reconstruct(run).shape == (18, 22, 3)
    assert [stage["resolution"] for stage in describe(run.experiment)["stages"]] == [*TINY.sizes()]
    assert len(describe(run.experiment)["players"]) == 6


@pytest.mark.parametrize("stop", [3, 2], ids=["inside", "border"])
def test_resumed_equals_uninterrupted(whole, tmp_path, stop):
    train(experiment(steps=stop), tmp_path / "part", console=QUIET)
    part = Run(tmp_path / "part")
    shape = part.gives("generate")["image"].shape
    assert shape == ((12, 15, 3) if stop == 2 else (15, 18, 3))
    if stop == 2:  # the networks of the other scales stay as they are
        first = init(TINY, mesh=make_mesh(1)).params
        for name, params in part.state.params.items():
            same = jax.tree.leaves(jax.tree.map(np.array_equal, params, first[name]))
            assert all(same) == (not name.endswith("_0")), name
    resumed = train(experiment(), tmp_path / "part", console=QUIET)
    assert state_sha256(resumed.state) == state_sha256(whole[0].state)


def test_a_batch_of_one_is_not_shared(tmp_path):
    with pytest.raises(UserError, match="batch is 1, not divisible by 2 devices"):
        train(experiment(mesh=Mesh(data=2)), tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (12, 30, 3)}, "shorter side must be above 12"),
        ({"shape": (20, 300, 3)}, "longer one at most 250"),
        ({"shape": (20, 30, 2)}, "1, 3 or 4 channels"),
        ({"shortest": 10}, "needs 11 pixels"),
        ({"factor": 0.99}, "do not grow"),
        ({"decay": 0.0}, "it must be above 0 and at most 1"),
    ],
)
def test_pyramids_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **changes)
