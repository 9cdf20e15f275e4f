import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxgan import init, make_step, penalties
from jaxgan.errors import UserError
from jaxgan.fields import draw_items
from jaxgan.parallel.mesh import batch_sharding, make_mesh
from jaxgan.systems.biggan import BigGAN
from jaxgan.view import View
from tests.reference import biggan as reference
from tests.reference.port import images_from_torch, images_to_torch, randomise, to_flax

TINY = BigGAN(
    shape=(32, 32, 3),
    classes=10,
    channels=8,
    latent=20,
    shared=16,
    generator_attention=(16,),
    discriminator_attention=(16,),
)
# The smallest with attention, which needs 8 channels.
SMALLEST = dataclasses.replace(
    TINY, classes=3, channels=2, latent=8, shared=4, discriminator_attention=()
)
CIFAR = dataclasses.replace(
    TINY,
    shared=0,
    hierarchical=False,
    generator_attention=(),
    discriminator_attention=(),
    weights="normal",
)
Z = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
LABEL = np.array([1, 0, 9])
QUICK = {"xla_backend_optimization_level": 0}  # to compile


@pytest.fixture(scope="module")
def state():
    return init(TINY)


def opened(params):
    """Generator parameters with the attention's gate open: it starts closed."""
    return {**params, "attention": {**params["attention"], "sigma": jnp.float32(0.7)}}


@pytest.mark.parametrize(
    ("system", "counts"),
    [
        (TINY, (72_164, 72_293)),
        (
            BigGAN(
                shape=(64, 64, 3),
                channels=64,
                latent=100,
                generator_attention=(32,),
                discriminator_attention=(32,),
            ),
            (31_866_116, 20_571_842),
        ),
        (BigGAN(channels=64), (31_978_628, 39_448_258)),
        (BigGAN(shape=(256, 256, 3), latent=140), (82_235_844, 99_225_890)),
    ],
    ids=["tiny", "64", "128", "256 by ajbrock"],
)
def test_parameter_counts(system, counts):
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    sizes = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}
    assert (sizes["generator"], sizes["discriminator"]) == counts


@torch.no_grad()
@pytest.mark.parametrize("system", [TINY, CIFAR], ids=["tiny", "cifar"])
def test_generator_matches_torch(system):
    torch.manual_seed(0)
    network = reference.Generator(
        32, 8, 10, 20, system.shared, sum(system.generator_attention), system.shape[-1]
    )
    network = randomise(network)
    ours = system.networks()["generator"].apply
    images, maps = jax.jit(ours, static_argnames="train")(to_flax(network), Z, LABEL, train=False)
    theirs = images_from_torch(network(torch.from_numpy(Z), torch.from_numpy(LABEL)))
    assert theirs.std() > 1e-2
    assert [m.shape for m in maps] == ([(3, 256, 64)] if system.generator_attention else [])
    np.testing.assert_allclose(images, theirs, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("system", [TINY, CIFAR], ids=["tiny", "cifar"])
def test_discriminator_matches_torch(system, rng):
    torch.manual_seed(0)
    attended = (1, 2, 3, 4) if system.discriminator_attention else ()
    network = randomise(reference.Discriminator(32, 8, 10, attended))
    x = rng.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    ours = system.networks()["discriminator"].apply
    logits = jax.jit(ours, static_argnames="train")(to_flax(network), x, LABEL, train=False)
    theirs = network(images_to_torch(x), torch.from_numpy(LABEL)).numpy()
    np.testing.assert_allclose(logits, theirs, rtol=1e-4, atol=1e-4)


def test_a_chunk_of_the_latents_reaches_its_block_and_no_earlier_one(state):
    network = TINY.networks()["generator"]

    @jax.jit
    def maps(z):
        _, seen = network.apply(
            {"params": state.params["generator"], **state.stats["generator"]},
            z,
            LABEL,
            train=False,
            capture_intermediates=lambda layer, _: layer.name in ("dense", *blocks),
            mutable="intermediates",
        )
        return {name: jax.tree.leaves(tree)[0] for name, tree in seen["intermediates"].items()}

    blocks = ("block1", "block2", "block3")
    before = maps(Z)
    for chunk, changed in enumerate(("dense", *blocks)):
        z = Z.copy()
        z[:, 5 * chunk : 5 * (chunk + 1)] += 1
        after = maps(z)
        same = {name: np.array_equal(before[name], after[name]) for name in before}
        order = ("dense", *blocks)
        assert same == {name: order.index(name) < order.index(changed) for name in order}


def test_orthogonal_start(state):
    """W W' = I for matrices (out, rest) with no more rows than columns; the shared table, too."""
    checked = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
        if path[-1].key != "kernel":
            continue
        w = np.asarray(leaf).reshape(-1, leaf.shape[-1]).T
        w = w if len(w) <= w.shape[1] else w.T
        np.testing.assert_allclose(w @ w.T, np.eye(len(w)), atol=1e-5)
        checked += 1
    assert checked == 56


def test_normal_start():
    block = init(CIFAR).params["generator"]["block1"]
    np.testing.assert_allclose(block["conv1"]["kernel"].std(), 0.02, rtol=0.05)
    np.testing.assert_allclose(block["norm1"]["scale"].mean(), 1, atol=0.005)
    np.testing.assert_allclose(block["norm1"]["scale"].std(), 0.02, rtol=0.2)
    np.testing.assert_allclose(block["norm1"]["bias"].std(), 0.02, rtol=0.2)


def test_orthogonal_penalty_adds_its_gradient_once_an_update(state):
    """4 beta W (W'W (1 - I)) for kernels, nothing for biases and the shared embedding."""
    system = dataclasses.replace(TINY, orthogonal_penalty=1e-2)
    regularise = system._orthogonalise()
    params = {"generator": jax.tree.map(lambda p: p + 0.1, state.params["generator"])}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(regularise.update)(zeros, regularise.init(params), params)
    g = updates["generator"]
    for layer in (("block1", "conv1"), ("block2", "norm1", "scale"), ("dense",)):
        kernel, got = params["generator"], g
        for name in (*layer, "kernel"):
            kernel, got = kernel[name], got[name]
        w = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
        want = 4e-2 * w @ (w.T @ w * (1 - np.eye(w.shape[1])))
        np.testing.assert_allclose(np.reshape(got, w.shape), want, rtol=1e-3, atol=1e-5)
    assert not g["shared"]["kernel"].any()
    assert not g["block1"]["conv1"]["bias"].any()
    assert g["attention"]["theta"]["kernel"].any()
    plain, regular = (s.stages()[0].players[1].optimizer for s in (TINY, system))
    assert len(regular.init(params)) == 2
    assert penalties.orthogonal(params) > 0
    assert jax.tree.structure(plain.init(params)) == jax.tree.structure(regular.init(params)[1])


def test_orthogonal_penalty_counts_tables_of_classes_as_the_authors_code_does(rng):
    """Rows (out, rest) of every tensor of two and more axes; gains count from 1 there."""
    classes, channels, strength = 5, 7, 1e-2
    theirs = {name: rng.normal(size=(classes, channels)) for name in ("scale", "bias")}
    params = {"block1": {"norm1": {"scale": 1 + theirs["scale"], "bias": theirs["bias"]}}}
    params |= {"norm": {"scale": rng.normal(size=channels)}}
    params = jax.tree.map(np.float32, {"generator": params})
    regularise = dataclasses.replace(TINY, orthogonal_penalty=strength / 2)._orthogonalise()
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = regularise.update(zeros, regularise.init(params), params)
    for name, w in theirs.items():
        want = strength * 2 * (w @ w.T * (1 - np.eye(classes))) @ w
        got = updates["generator"]["block1"]["norm1"][name]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert not updates["generator"]["norm"]["scale"].any()


def test_average_is_a_copy_before_its_start():
    """As ajbrock's, whose iterations count from 1: a copy in those below the start."""
    decay = dataclasses.replace(TINY, ema_decay=0.9, ema_start=3).ema()["generator"]
    average, values = 0.0, np.arange(1.0, 8.0)
    for step, value in enumerate(values):
        keep = float(decay(jnp.int32(step)))
        average = keep * average + (1 - keep) * value
        if step + 1 < 3:
            assert average == value
    # From 3 on: 0.9^n of the copy, and the rest of what came after.
    want = 0.9**5 * 2 + sum(0.1 * 0.9 ** (6 - k) * values[k] for k in range(2, 7))
    assert average == pytest.approx(want, rel=1e-6)
    for start in (0, 1):
        assert dataclasses.replace(TINY, ema_start=start).ema() == {"generator": 0.9999}
    assert dataclasses.replace(TINY, ema_decay=0.0).ema() == {}


@pytest.mark.parametrize(("truncation", "std"), [(2.0, 0.87963), (1.0, 0.53956), (0.5, 0.28388)])
def test_truncated_latents_are_redrawn_not_scaled(truncation, std):
    keys = jax.random.split(jax.random.key(0), 50_000)
    z = np.asarray(draw_items(TINY.latents(), keys, jnp.float32(truncation))["z"])
    assert abs(z).max() <= truncation
    np.testing.assert_allclose(z.std(), std, rtol=2e-3)


def gradient(system, params, stats):
    """Of a function of the generated images with respect to the generator's parameters."""
    network = system.networks()["generator"]
    weight = np.random.default_rng(1).normal(size=(3, 32, 32, 3))
    z = Z[:, : system.latent]

    def loss(params):
        outputs, _ = network.apply(
            {"params": params, **stats}, z, LABEL % 3, train=True, mutable="batch_stats"
        )
        return jnp.sum(weight * outputs[0])

    return jax.jit(jax.grad(loss), compiler_options=QUICK)(params)


def assert_close_trees(got, want, tolerance):
    """Every leaf, relative to the largest gradient of any."""
    scale = max(abs(x).max() for x in jax.tree.leaves(want))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance * scale), got, want)


def test_gradients_are_those_of_the_plain_formula(monkeypatch):
    """Inert biases and the shift beside the stream against biases that simply are added.

    Without `stop_gradient` every bias is live, and the shift has no gradient.
    """
    state = init(SMALLEST)
    params, stats = opened(state.params["generator"]), state.stats["generator"]
    ours = gradient(SMALLEST, params, stats)
    again = gradient(dataclasses.replace(SMALLEST, remat=True), params, stats)
    monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
    plain = gradient(SMALLEST, params, stats)
    assert_close_trees(ours, plain, 1e-5)
    assert_close_trees(again, ours, 1e-6)
    for block in ("block1", "block2"):
        for layer in ("conv2", "shortcut"):
            assert abs(ours[block][layer]["bias"]).max() > 0
        assert not ours[block]["conv1"]["bias"].any()
    assert not ours["block3"]["conv2"]["bias"].any()


@pytest.mark.usefixtures("all_in_shares")
def test_eight_devices_equal_one(rng):
    """With the attention's gate open: biases that only it sees must not be rounding noise.

    Adam would make full steps of 5e-5 of that. Its own moments have the gradients' scale, up to 10,
    and are left out. As in test_systems_on_devices.py, a start that meets no kink is taken.
    """
    system = dataclasses.replace(SMALLEST, discriminator_updates=1)
    data = [
        {
            "image": rng.uniform(-1, 1, (16, 32, 32, 3)).astype(np.float32),
            "label": rng.integers(0, 3, 16).astype(np.int32),
        }
        for _ in range(3)
    ]
    states = []
    for mesh in (make_mesh(1), make_mesh(8)):
        step, state = make_step(system, mesh=mesh), init(system, 1, mesh=mesh)
        params = {**state.params, "generator": opened(state.params["generator"])}
        state = jax.device_put(
            dataclasses.replace(state, params=params), jax.tree.map(lambda x: x.sharding, state)
        )
        for batch in data:
            state, _ = step(state, jax.device_put(batch, batch_sharding(mesh, leading=0)))
        states.append(jax.device_get((state.params, state.stats, state.ema)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)
    for params, _, _ in states:
        assert abs(params["generator"]["block1"]["conv2"]["bias"]).min() > 1e-5


def test_several_singular_values_and_iterations_are_kept(state):
    system = dataclasses.replace(SMALLEST, singular_values=3, power_iterations=2)
    _, stats = jax.eval_shape(system.init, jax.random.key(0))
    u = stats["generator"]["spectral"]["block1"]["conv1"]["SpectralNorm_0"]["u"]
    assert u.shape == (3, 8)
    u = state.stats["generator"]["spectral"]["block1"]["conv1"]["SpectralNorm_0"]["u"]
    assert u.shape == (32,)


def test_attention_starts_as_the_identity_and_can_be_looked_at(state):
    view = View(TINY.networks(), state.params, state.stats, train=False)
    use, taken = TINY.uses()["attention"], {"z": Z, "label": LABEL}
    images, attention = use.call(view, taken, None, None).values()
    assert use.gives["attention"].shape == attention.shape[1:]
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(TINY.make(view, taken), images)
    assert set(CIFAR.uses()) == {"generate", "judge"}


def test_without_labels_latents_alone_reach_the_norms():
    system = dataclasses.replace(TINY, classes=0)
    params, _ = jax.eval_shape(system.init, jax.random.key(0))
    assert "shared" not in params["generator"]
    assert "embed" not in params["discriminator"]
    assert params["generator"]["block1"]["norm1"]["scale"]["kernel"].shape == (5, 32)
    plain = dataclasses.replace(system, hierarchical=False)
    params, _ = jax.eval_shape(plain.init, jax.random.key(0))
    assert params["generator"]["block1"]["norm1"]["scale"].shape == (32,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (48, 48, 3)}, "squares of 32, 64, 128, 256, 512 pixels"),
        ({"shape": (64, 32, 3)}, "squares of"),
        ({"latent": 128}, "6 equal chunks: set it to 126"),
        ({"shared": 0}, "shared is 0"),
        ({"generator_attention": (48,)}, "8, 16, 32, 64, 128"),
        ({"discriminator_attention": (128,)}, "4, 8, 16, 32, 64"),
        ({"discriminator_multipliers": (1, 2)}, "needs 6"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(UserError, match=message) as error:
        BigGAN(**changes)
    assert "\n" not in str(error.value)
