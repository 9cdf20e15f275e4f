"""Adversarial losses against closed forms, PyTorch, and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jaxgan import losses
from jaxgan.divergences import DIVERGENCES
from jaxgan.errors import UserError

# What grows exponentially by definition, and is left to.
EXPONENTIAL = ("f_gan_kl", "f_gan_reverse_kl", "f_gan_squared_hellinger")


def logits(seed):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(0, 3, shape), jnp.float32) for shape in ((7, 3), (5, 3)))


def torch_reference(name):
    bce, mse = F.binary_cross_entropy_with_logits, F.mse_loss
    one, zero = torch.ones_like, torch.zeros_like
    return {
        "non_saturating": (
            lambda r, f: bce(r, one(r)) + bce(f, zero(f)),
            lambda f: bce(f, one(f)),
        ),
        "saturating": (
            lambda r, f: bce(r, one(r)) + bce(f, zero(f)),
            lambda f: -bce(f, zero(f)),
        ),
        "hinge": (lambda r, f: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda f: -f.mean()),
        "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
        "least_squares": (
            lambda r, f: (mse(r, one(r)) + mse(f, zero(f))) / 2,
            lambda f: mse(f, one(f)) / 2,
        ),
    }[name]


@pytest.mark.parametrize(
    "name", ["non_saturating", "saturating", "hinge", "wasserstein", "least_squares"]
)
def test_values_and_gradients_equal_pytorch(name):
    real, fake = logits(0)
    loss = losses.get(name)
    d_reference, g_reference = torch_reference(name)

    t_real = torch.tensor(real, requires_grad=True)
    t_fake = torch.tensor(fake, requires_grad=True)
    expected = d_reference(t_real, t_fake)
    expected.backward()
    value, (d_real, d_fake) = jax.jit(jax.value_and_grad(loss.discriminator, (0, 1)))(real, fake)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(d_real, t_real.grad, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(d_fake, t_fake.grad, rtol=1e-5, atol=1e-8)

    t_fake.grad = None
    expected = g_reference(t_fake)
    expected.backward()
    value, d_fake = jax.jit(jax.value_and_grad(loss.generator))(fake)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(d_fake, t_fake.grad, rtol=1e-5, atol=1e-8)


def test_values_of_an_undecided_discriminator():
    zero = jnp.zeros(4)
    ln2 = np.log(2)
    expected = {
        "non_saturating": (2 * ln2, ln2),
        "saturating": (2 * ln2, -ln2),
        "hinge": (2, 0),
        "wasserstein": (0, 0),
        "least_squares": (0.5, 0.5),
    }
    for name, (d, g) in expected.items():
        np.testing.assert_allclose(losses.get(name).discriminator(zero, zero), d, rtol=1e-6)
        np.testing.assert_allclose(losses.get(name).generator(zero), g, rtol=1e-6)


@pytest.mark.parametrize("d", [-1e4, -jnp.inf])
def test_generator_gradient_on_a_hopeless_fake(d):
    assert jax.grad(losses.non_saturating.generator)(jnp.array([d]))[0] == -1
    assert jax.grad(losses.saturating.generator)(jnp.array([d]))[0] == 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_finite_for_huge_logits(dtype):
    finite = [x for name, x in losses.LOSSES.items() if not name.startswith(EXPONENTIAL)]

    @jax.jit
    def evaluate(huge):
        return [
            (
                jax.value_and_grad(loss.discriminator, (0, 1))(huge, huge),
                jax.value_and_grad(loss.generator)(huge),
            )
            for loss in finite
        ]

    results = evaluate(jnp.array([-1e4, 1e4], dtype))
    for loss, ((d_value, d_gradients), (g_value, g_gradient)) in zip(finite, results, strict=True):
        assert d_value.dtype == g_value.dtype == jnp.float32, loss.name
        for x in (d_value, g_value, *d_gradients, g_gradient):
            assert np.isfinite(np.asarray(x, np.float32)).all(), loss.name


def test_half_precision_logits_are_averaged_in_float32():
    # 300 ones and a hundred 1/512: a bfloat16 sum would stop at 256 and lose the rest.
    fake = jnp.concatenate([jnp.ones(300), jnp.full(100, 1 / 512)]).astype(jnp.bfloat16)
    expected = -(300 + 100 / 512) / 400
    np.testing.assert_allclose(losses.wasserstein.generator(fake), expected, rtol=1e-6)


def test_real_scores_higher_under_every_loss():
    @jax.jit
    def evaluate(low, high):
        return {
            name: (
                loss.discriminator(high, low) < loss.discriminator(low, high),
                loss.generator(high) < loss.generator(low),
            )
            for name, loss in losses.LOSSES.items()
        }

    for name, verdicts in evaluate(jnp.full(3, -0.4), jnp.full(3, 0.4)).items():
        assert all(verdicts), name


@pytest.mark.parametrize("practical", [True, False])
def test_f_gan_of_gan_is_the_gan(practical):
    real, fake = logits(1)
    ours = losses.f_gan(DIVERGENCES["gan"], practical)
    known = losses.non_saturating if practical else losses.saturating
    np.testing.assert_allclose(
        ours.discriminator(real, fake), known.discriminator(real, fake), rtol=1e-6
    )
    np.testing.assert_allclose(ours.generator(fake), known.generator(fake), rtol=1e-6)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_f_gan_is_the_variational_bound(name):
    row = DIVERGENCES[name]
    real, fake = (x / 3 for x in logits(2))
    mean_t = row.activation(real).mean()
    mean_conjugate = row.conjugate(row.activation(fake)).mean()
    practical, saturating = losses.get(f"f_gan_{name}"), losses.get(f"f_gan_{name}_saturating")
    for loss in (practical, saturating):
        np.testing.assert_allclose(
            loss.discriminator(real, fake), mean_conjugate - mean_t, rtol=1e-4, atol=1e-6
        )
    np.testing.assert_allclose(practical.generator(fake), -row.activation(fake).mean(), rtol=1e-5)
    np.testing.assert_allclose(saturating.generator(fake), -mean_conjugate, rtol=1e-4, atol=1e-6)


def test_names_lead_to_losses():
    assert losses.get("hinge") is losses.hinge
    assert all(losses.get(name).name == name for name in losses.LOSSES)
    assert len(losses.LOSSES) == 5 + 2 * 7


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("hindge", "hinge"), ("non-saturating", "non_saturating"), ("f_gan_k", "f_gan_kl")],
)
def test_unknown_name_proposes_the_nearest(given, nearest):
    with pytest.raises(UserError, match=f"{given!r} is unknown: did you mean {nearest!r}") as e:
        losses.get(given)
    assert "\n" not in str(e.value)
