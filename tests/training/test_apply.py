"""Applying uses: rows, numbers, truncation, devices, compilations, captures and edits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import UserError, init
from jaxgan.fields import FromData, Image
from jaxgan.nn.layers import Dense
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.parallel.mesh import make_mesh
from jaxgan.system import Use
from jaxgan.systems.cgan import CGAN
from jaxgan.systems.pix2pix import Pix2Pix
from jaxgan.training.apply import apply, draw, evaluation_view
from tests.toys import TinyGAN

SYSTEM = TinyGAN()
LABELLED = CGAN(shape=(8, 8, 1), width=2, latent=3, classes=5)
PAIRED = Pix2Pix(shape=(8, 8, 1), input_channels=1, width=4, patch_halvings=1)
OUT = ("generator", "out")
NORM = ("generator", "norm")

traces = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traced(TinyGAN):
    """Notes each time that it is traced."""

    name: str

    def make(self, view, taken):
        traces.append(self.name)
        return super().make(view, taken)


class Rows:
    """Data of ten images, each all of its number."""

    def count(self, name):
        return 10

    def items(self, name, indices):
        indices = indices % self.count(name)  # counted round
        return np.ones((len(indices), 8, 8, 1), np.float32) * indices[:, None, None, None] / 10


@pytest.fixture(scope="module")
def state():
    """With averages, and both sets of statistics, away from the start."""
    rng = np.random.default_rng(0)
    state = init(SYSTEM)
    return jax.tree.map(
        lambda x: x + rng.uniform(0.1, 0.5, x.shape).astype(np.float32) if x.ndim else x, state
    )


@pytest.fixture(scope="module")
def labelled():
    return init(LABELLED)


def images(*args, **options):
    return apply(*args, "generate", **options).made["image"]


def test_a_row_is_that_of_its_number_however_many_are_asked_for(state):
    whole = images(SYSTEM, state, numbers=25, chunk=10, seed=5)
    assert whole.shape == (25, 2)
    part = images(SYSTEM, state, numbers=np.array([24, 3, 11]), chunk=10, seed=5)
    np.testing.assert_array_equal(part, whole[[24, 3, 11]])
    np.testing.assert_allclose(images(SYSTEM, state, numbers=25, chunk=7, seed=5), whole, atol=1e-6)
    assert abs(images(SYSTEM, state, numbers=25, chunk=10, seed=6) - whole).max() > 0.1
    # A number alone is a row alone; without one, and with nothing given, there is one row.
    np.testing.assert_array_equal(images(SYSTEM, state, chunk=10, seed=5), whole[:1])


def test_what_is_drawn_is_what_was_taken_and_can_be_given(state):
    drawn = draw(SYSTEM, state, "generate", numbers=25, seed=3, chunk=10)
    applied = apply(SYSTEM, state, "generate", numbers=25, seed=3, chunk=10)
    np.testing.assert_array_equal(applied.taken["z"], drawn["z"])
    again = apply(SYSTEM, state, "generate", drawn, seed=9, chunk=10)
    np.testing.assert_array_equal(again.made["image"], applied.made["image"])
    view = evaluation_view(SYSTEM, state)
    np.testing.assert_allclose(view("generator", drawn["z"]), applied.made["image"], atol=1e-6)


def test_evaluation_uses_averages(state):
    z = draw(SYSTEM, state, "generate", numbers=4)["z"]
    average = state.ema["generator"]
    variables = {"params": average["params"], "batch_stats": average["batch_stats"]}
    want = SYSTEM.networks()["generator"].apply(variables, z, train=False)
    np.testing.assert_allclose(images(SYSTEM, state, given={"z": z}), want, atol=1e-6)


def test_every_row_is_drawn_apart(state):
    z = draw(SYSTEM, state, "generate", numbers=25)["z"]
    assert len(np.unique(z)) == z.size == 100


def test_truncation_redraws_what_lies_beyond(state):
    free = draw(SYSTEM, state, "generate", numbers=200)["z"]
    assert abs(free).max() > 2
    for level in (0.5, 1.0):
        z = draw(SYSTEM, state, "generate", numbers=200, truncation=level)["z"]
        assert level / 2 < abs(z).max() <= level


def test_labels_are_given_or_drawn(labelled):
    drawn = draw(LABELLED, labelled, "generate", numbers=200)
    assert np.bincount(drawn["label"], minlength=5).min() > 20
    label = np.arange(20) % 5
    given = apply(LABELLED, labelled, "generate", {"label": label}, chunk=20)
    np.testing.assert_array_equal(given.taken["label"], label)
    np.testing.assert_array_equal(given.taken["z"], drawn["z"][:20])  # whatever the label
    one = apply(LABELLED, labelled, "generate", {"label": [3]}, numbers=20, chunk=20)
    np.testing.assert_array_equal(one.taken["label"], np.full(20, 3))
    np.testing.assert_array_equal(one.made["image"][3::5], given.made["image"][3::5])
    assert abs(one.made["image"][0] - given.made["image"][0]).max() > 1e-4


@pytest.mark.parametrize("devices", [None, (4, 2)], ids=["one", "eight"])
def test_a_use_is_traced_once_for_what_is_given_and_what_is_drawn(devices):
    system = Traced(name=f"on {devices}")
    state = init(system, mesh=devices and make_mesh(*devices))
    z = draw(system, state, "generate", numbers=9, chunk=8)["z"]
    assert traces.count(system.name) == 0
    for given in ({}, {"z": z}, {"z": z[:1]}, {"z": jnp.asarray(z)}, {"z": list(z)}):
        for truncation in (None, 1.0, 0.5):
            for seed in (0, 1):
                apply(
                    system,
                    state,
                    "generate",
                    given,
                    numbers=9,
                    truncation=truncation,
                    seed=seed,
                    chunk=8,
                )
    assert traces.count(system.name) == 1


def test_devices_share_the_rows_and_change_none(monkeypatch):
    monkeypatch.setattr("jaxgan.parallel.sharding._WHOLE_BELOW", 0)
    alone, shared = (
        images(SYSTEM, init(SYSTEM, mesh=mesh), numbers=25, seed=5, chunk=10)
        for mesh in (make_mesh(1), make_mesh(4, 2))
    )
    assert alone.shape == (25, 2)
    np.testing.assert_allclose(alone, shared, atol=1e-6)


def test_devices_share_translations_and_change_none(monkeypatch, rng):
    monkeypatch.setattr("jaxgan.parallel.sharding._WHOLE_BELOW", 0)
    given = {"input": rng.uniform(-1, 1, (11, 8, 8, 1)).astype(np.float32)}
    alone, shared = (
        apply(PAIRED, init(PAIRED, mesh=mesh), "AtoB", given, seed=5, chunk=4)
        for mesh in (make_mesh(1), make_mesh(4, 2))
    )
    for one in (alone, shared):
        assert one.made["image"].shape == (11, 8, 8, 1)
        np.testing.assert_array_equal(one.taken["input"], given["input"])
    np.testing.assert_allclose(alone.made["image"], shared.made["image"], atol=1e-6)
    # Of its number, not of its place.
    last = {"input": given["input"][10:]}
    made = apply(PAIRED, init(PAIRED), "AtoB", last, numbers=np.array([10]), seed=5, chunk=4).made
    np.testing.assert_allclose(made["image"], alone.made["image"][10:], atol=1e-6)


def test_what_is_taken_from_data_is_drawn_from_them():
    state = init(PAIRED)
    taken = draw(PAIRED, state, "AtoB", numbers=50, data=Rows(), chunk=10)["input"]
    assert len(np.unique(taken)) == 10
    few = draw(PAIRED, state, "AtoB", numbers=np.array([41, 7]), data=Rows(), chunk=10)["input"]
    np.testing.assert_array_equal(few, taken[[41, 7]])
    other = draw(PAIRED, state, "AtoB", numbers=50, seed=1, data=Rows(), chunk=10)["input"]
    assert (other != taken).any()
    with pytest.raises(UserError, match="draws input from the data, which are not at hand"):
        draw(PAIRED, state, "AtoB")


def _grow(view, taken, keys, options):
    grown = jnp.repeat(taken["image"], options.factor, 1)
    return {"image": grown + jax.vmap(jax.random.uniform)(keys)[:, None, None, None]}


@dataclasses.dataclass(frozen=True)
class Factor:
    factor: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growing(TinyGAN):
    """Can make images of any size higher, and claims the wrong size of its samples."""

    def uses(self):
        anything = Image((None, None, 1))
        generate = super().uses()["generate"]
        return {
            "grow": Use(
                call=_grow, takes={"image": anything}, gives={"image": anything}, options=Factor()
            ),
            "lie": dataclasses.replace(generate, gives={"image": Image((1, 1, 3))}),
            "hide": dataclasses.replace(generate, gives={}),
        }


def test_items_of_several_sizes_keep_their_order(rng):
    system, sizes = Growing(), [(2, 3), (4, 3), (2, 3), (4, 3), (1, 1), (2, 3)]
    state = init(system)
    items = [rng.uniform(-1, 1, (*size, 1)).astype(np.float32) for size in sizes]
    made = apply(system, state, "grow", {"image": items}, chunk=2).made["image"]
    for x, y in zip(items, made, strict=True):
        assert y.shape == (2 * x.shape[0], x.shape[1], 1)
        np.testing.assert_allclose(y[::2] - y[:1, :1], x - x[:1, :1], atol=1e-6)
    # The key is that of the row.
    alone = apply(system, state, "grow", {"image": items[3:4]}, numbers=np.array([3]), chunk=2)
    np.testing.assert_array_equal(alone.made["image"][0], made[3])
    triple = apply(system, state, "grow", {"image": items}, options=Factor(3), chunk=2)
    assert [y.shape[0] for y in triple.made["image"]] == [3 * h for h, _ in sizes]


def test_a_use_that_makes_something_else_than_it_declares_is_named():
    system = Growing()
    state = init(system)
    with pytest.raises(
        ValueError, match=r"makes image of \(100, 2\), but declares \(100, 1, 1, 3\)"
    ):
        apply(system, state, "lie")
    with pytest.raises(ValueError, match=r"makes \['image'\], but declares that it gives \[\]"):
        apply(system, state, "hide")


def _scale(outputs, factors):
    return outputs * factors


def test_captures_are_what_modules_make(state):
    applied = apply(SYSTEM, state, "generate", numbers=25, chunk=10, captures=[NORM, OUT])
    shapes = {place: x.shape for place, x in applied.captured.items()}
    assert shapes == {NORM: (25, 8), OUT: (25, 2)}
    np.testing.assert_array_equal(applied.captured[OUT], applied.made["image"])
    params = state.ema["generator"]["params"]["out"]
    want = np.maximum(applied.captured[NORM], 0) @ params["kernel"] + params["bias"]
    np.testing.assert_allclose(applied.captured[OUT], want, atol=1e-5)


def test_a_unit_that_is_zeroed_takes_what_it_adds(state):
    plain = apply(SYSTEM, state, "generate", numbers=16, captures=[NORM])
    mask = np.ones(8, np.float32)
    mask[2] = 0
    edited = apply(
        SYSTEM, state, "generate", numbers=16, captures=[NORM], edits={(NORM, _scale): mask}
    )
    np.testing.assert_array_equal(edited.captured[NORM], plain.captured[NORM] * mask)
    added = np.maximum(plain.captured[NORM][:, 2], 0)
    assert added.any()
    kernel = np.asarray(state.ema["generator"]["params"]["out"]["kernel"])
    want = plain.made["image"] - added[:, None] * kernel[2]
    np.testing.assert_allclose(edited.made["image"], want, atol=1e-5)
    idle = added == 0
    np.testing.assert_array_equal(edited.made["image"][idle], plain.made["image"][idle])


def test_edits_with_other_arrays_share_a_compilation():
    system = Traced(name="edited")
    state = init(system)
    made = [
        images(system, state, numbers=4, edits={(NORM, _scale): np.full(8, factor, np.float32)})
        for factor in (1.0, 0.5, 0.0)
    ]
    assert traces.count(system.name) == 1
    np.testing.assert_allclose(made[0], images(system, state, numbers=4), atol=1e-6)
    np.testing.assert_array_equal(made[2], np.tile(made[2][:1], (4, 1)))  # the bias alone
    assert (made[1] != made[0]).all()


@pytest.mark.parametrize(
    ("use", "options", "message"),
    [
        ("generat", {}, "TinyGAN cannot 'generat': it has generate, judge; did you mean generate"),
        ("generate", {"given": {"label": [1]}}, "generate takes z, not label"),
        ("generate", {"given": {"z": np.zeros((3, 4))}, "numbers": 5}, "z has 3 items for 5 rows"),
        (
            "generate",
            {"given": {"z": np.zeros((3, 5))}},
            r"takes z of normal 4, not of shape \(5,\)",
        ),
        ("generate", {"given": {"z": np.zeros(4)}}, r"takes z of normal 4, not of shape \(\)"),
        ("generate", {"given": {"z": 3.0}}, "z is one item alone"),
        ("generate", {"numbers": 0}, "numbers is 0: it must be at least 1"),
        ("generate", {"captures": [("generator", "nor")]}, "generator calls no module at 'nor'"),
        ("generate", {"captures": [("discriminator", "out")]}, "does not apply discriminator"),
        ("generate", {"edits": {(("generator", "nor"), _scale): 0.0}}, "no module at 'nor'"),
        ("generate", {"edits": {(("generators", ""), _scale): 0.0}}, "does not apply generators"),
    ],
)
def test_what_cannot_be_applied_is_refused(state, use, options, message):
    with pytest.raises(UserError, match=message) as error:
        apply(SYSTEM, state, use, **options)
    assert "\n" not in str(error.value)


def test_what_must_be_given_is_asked_for():
    with pytest.raises(UserError, match=r"grow needs image \(image .*\): give it"):
        apply(Growing(), init(Growing()), "grow")


def test_what_is_taken_from_data_has_the_fields_of_the_data():
    """By its name, whatever the use calls it."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Renamed(Growing):
        def data(self):
            return ({"image": Image((8, 8, 1))},)

        def uses(self):
            grow = super().uses()["grow"]
            return {"grow": dataclasses.replace(grow, takes={"image": FromData(column="image")})}

    made = apply(Renamed(), init(Renamed()), "grow", numbers=3, data=Rows()).made["image"]
    assert made.shape == (3, 16, 8, 1)


def test_numbers_that_are_not_finite_are_refused():
    system = TinyGAN()
    z = np.full((1, system.latent), np.nan, np.float32)
    with pytest.raises(UserError, match="not finite"):
        apply(system, init(system), "generate", {"z": z})


def test_a_view_captures_what_its_edits_made():
    system = TinyGAN()
    state, z = init(system), jnp.ones((2, system.latent))
    place = ("generator", "hidden")
    view = evaluation_view(system, state, edits=[(place, lambda x, by: by * x, 0.0)])
    outputs, found = view.capture("generator", ["hidden"], z)
    np.testing.assert_array_equal(found["hidden"], np.zeros_like(found["hidden"]))
    np.testing.assert_array_equal(outputs, view.frozen("generator", z))
    assert view.applied == {"generator"}
    assert view.captured == {}


class Normed(nn.Module):
    """A matrix that spectral norm divides."""

    @nn.compact
    def __call__(self, z, *, train):
        return Dense(12, use_bias=False, reparam=SpectralNorm, name="out")(z)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormedGAN(TinyGAN):
    shape: tuple[int, ...] = (12,)
    latent: int = 9
    ema_decay: float = 0.9

    def networks(self):
        return {**super().networks(), "generator": Normed()}


@pytest.mark.parametrize("through", ["apply", "view"])
def test_averages_have_singular_vectors_of_their_own(rng, through):
    """One power iteration on the average, by NumPy; sigma is then nearer to the exact one."""
    system = NormedGAN()
    state = init(system)
    live = np.asarray(state.params["generator"]["out"]["kernel"], np.float64)
    u, s, v = np.linalg.svd(live.T)
    live += s[0] * np.outer(v[0], u[:, 0])  # twice the first: iterations converge
    s[0] *= 2
    average = live + 0.5 * live.std() * rng.normal(size=live.shape)
    spectral = {"u": u[:, 0], "v": v[0], "sigma": s[0]}

    def outputs(kernel):
        stats = {"spectral": {"out": {"SpectralNorm_0": jax.tree.map(jnp.float32, spectral)}}}
        ema = {"params": {"out": {"kernel": jnp.float32(kernel)}}}
        at = dataclasses.replace(
            state,
            params={**state.params, "generator": {"out": {"kernel": jnp.float32(live)}}},
            stats={**state.stats, "generator": stats},
            ema={"generator": ema},
        )
        if through == "view":
            return evaluation_view(system, at)("generator", z)
        return images(system, at, given={"z": z})

    z = rng.normal(size=(5, 9)).astype(np.float32)
    right = u[:, 0] @ average.T
    left = average.T @ right
    sigma = np.linalg.norm(left) / np.linalg.norm(right)  # u'Wv with u = Wv / |Wv|
    np.testing.assert_allclose(outputs(average), z @ average / sigma, rtol=1e-4, atol=1e-5)
    exact, before = np.linalg.svd(average)[1][0], u[:, 0] @ average.T @ v[0]
    assert exact - sigma < (exact - before) / 5
    assert before < 0.99 * exact
    # A copy has those that were found for what it copies, whatever they are.
    spectral["u"] = np.roll(spectral["u"], 1)
    sigma = spectral["u"] @ live.T @ spectral["v"]
    np.testing.assert_allclose(outputs(live), z @ live / sigma, rtol=1e-4, atol=1e-4)
