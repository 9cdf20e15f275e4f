"""The table of f-divergences: by quadrature in float64, and by training a discriminator."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.divergences import DIVERGENCES
from jaxgan.errors import UserError
from jaxgan.losses import f_gan

# D_f of p = N(1, 1) and q = N(0, 1). The first two, pearson, hellinger and total variation have
# closed forms: 1/2, 1/2, e - 1, 2 - 2 exp(-1/8), erf(1/√8).
VALUES = {
    "kl": 0.5,
    "reverse_kl": 0.5,
    "jensen_shannon": 0.222843,
    "gan": -1.163451,
    "pearson": 1.718282,
    "squared_hellinger": 0.235006,
    "total_variation": 0.382925,
}
DOMAINS = {  # of f*: lower and upper end
    "kl": (-np.inf, np.inf),
    "reverse_kl": (-np.inf, 0),
    "jensen_shannon": (-np.inf, np.log(2)),
    "gan": (-np.inf, 0),
    "pearson": (-np.inf, np.inf),
    "squared_hellinger": (-np.inf, 1),
    "total_variation": (-0.5, 0.5),
}
rows = pytest.mark.parametrize("name", DIVERGENCES)

X, STEP = np.linspace(-12, 13, 8001, retstep=True)  # 1/2, where p = q, is one of them
P = np.exp(-((X - 1) ** 2) / 2) / np.sqrt(2 * np.pi) * STEP  # trapezoid rule
Q = np.exp(-(X**2) / 2) / np.sqrt(2 * np.pi) * STEP
RATIO = np.exp(X - 0.5)
NARROW = slice(2500, 5501)  # about -4 < X < 5, where nothing is close to overflow


def optimal_output(name):
    """The raw output V of the best discriminator at X."""
    log_ratio = X - 0.5
    return {
        "kl": 1 + log_ratio,
        "pearson": 2 * np.expm1(log_ratio),
        "squared_hellinger": log_ratio / 2,
        "total_variation": np.sign(log_ratio) * 40,
    }.get(name, log_ratio)


def derivative(function):
    return jax.vmap(jax.grad(function))


@functools.cache
def evaluate(name):
    """The row's functions in float64: of the density ratio, of V = X, and of the optimal V."""
    row = DIVERGENCES[name]

    @jax.jit
    def functions(ratio, v, best):
        t = row.activation(v)
        slope = derivative(row.f)(ratio)
        return {
            "f": row.f(ratio),
            "slope": slope,
            "conjugate(slope)": row.conjugate(slope),
            "t": t,
            "conjugate(t)": row.conjugate(t),
            "composed": row.conjugate_activation(v),
            "derivatives": (
                derivative(row.conjugate_activation)(v),
                derivative(lambda v: row.conjugate(row.activation(v)))(v),
            ),
            "best t": row.activation(best),
            "best composed": row.conjugate_activation(best),
            "ratio": None if name == "total_variation" else row.ratio(best),
        }

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, functions(RATIO, X, optimal_output(name)))


@rows
def test_divergence_of_two_normals(name):
    np.testing.assert_allclose((Q * evaluate(name)["f"]).sum(), VALUES[name], atol=1e-6)


@rows
def test_bound_is_attained_at_the_optimal_output_only(name):
    row = evaluate(name)
    best = (P * row["best t"]).sum() - (Q * row["best composed"]).sum()
    np.testing.assert_allclose(best, VALUES[name], atol=1e-6)
    # V = X is another output for each row.
    other = (P * row["t"]).sum() - (Q * row["composed"]).sum()
    assert other < best - 1e-4


@rows
def test_conjugate_identity(name):
    # f*(f'(u)) = u f'(u) - f(u)
    row = {
        key: row[NARROW]
        for key, row in evaluate(name).items()
        if key in ("f", "slope", "conjugate(slope)")
    }
    expected = RATIO[NARROW] * row["slope"] - row["f"]
    np.testing.assert_allclose(row["conjugate(slope)"], expected, rtol=1e-8, atol=1e-12)


@rows
def test_conjugate_is_the_supremum(name):
    # f*(t) = sup over u of ut - f(u), for T at V from -1.5 to 1.5
    row = evaluate(name)
    some = np.flatnonzero(np.abs(X) <= 1.5)[::160]
    supremum = [(RATIO * t - row["f"]).max() for t in row["t"][some]]
    np.testing.assert_allclose(row["conjugate(t)"][some], supremum, atol=1e-5)


@rows
def test_activation_rises_within_the_domain(name):
    t = evaluate(name)["t"][NARROW]
    assert (np.diff(t) > 0).all()
    low, high = DOMAINS[name]
    assert ((low < t) & (t < high)).all()


@rows
def test_closed_form_is_the_conjugate_of_the_activation(name):
    row = evaluate(name)
    np.testing.assert_allclose(
        row["composed"][NARROW], row["conjugate(t)"][NARROW], rtol=1e-9, atol=1e-12
    )
    closed, composed = row["derivatives"]
    np.testing.assert_allclose(closed[NARROW], composed[NARROW], rtol=1e-8)


@rows
def test_threshold_is_where_the_densities_are_equal(name):
    row, threshold = evaluate(name), DIVERGENCES[name].threshold
    middle = np.flatnonzero(X == 0.5)[0]
    # A central difference, so that total variation's kink counts as flat.
    around = [middle - 1, middle + 1]
    slope = np.diff(row["f"][around]) / np.diff(RATIO[around])
    np.testing.assert_allclose(slope, threshold, atol=1e-3 if name == "total_variation" else 1e-5)
    np.testing.assert_allclose(row["best t"][middle], threshold, atol=1e-12)


@rows
def test_ratio_from_the_optimal_output(name):
    if name == "total_variation":
        with pytest.raises(UserError, match="total_variation has no density ratio"):
            DIVERGENCES[name].ratio(jnp.zeros(3))
        return
    row = evaluate(name)
    np.testing.assert_allclose(row["ratio"], RATIO, rtol=1e-9)
    # The output is optimal indeed: T is the derivative of f at the ratio.
    np.testing.assert_allclose(row["best t"], row["slope"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["jensen_shannon", "gan", "pearson", "total_variation"])
def test_finite_in_float32_for_huge_outputs(name):
    row = DIVERGENCES[name]
    v = jnp.array([-1e4, -100.0, 100.0, 1e4])
    for function in (row.activation, row.conjugate_activation):
        assert np.isfinite(function(v)).all()
        assert np.isfinite(derivative(function)(v)).all()


def test_float32_growth_is_only_where_the_objective_grows():
    v = jnp.array([-1e4, 1e4])
    kl, reverse, hellinger = (DIVERGENCES[n] for n in ("kl", "reverse_kl", "squared_hellinger"))
    np.testing.assert_array_equal(kl.conjugate_activation(v), [0, np.inf])
    np.testing.assert_array_equal(reverse.activation(v), [-np.inf, 0])
    np.testing.assert_array_equal(reverse.conjugate_activation(v), [-1e4 - 1, 1e4 - 1])
    np.testing.assert_array_equal(hellinger.activation(v), [-np.inf, 1])
    np.testing.assert_array_equal(hellinger.conjugate_activation(v), [-1, np.inf])


def features(name, x):
    """What the optimal V is linear in."""
    return jnp.stack([jnp.ones_like(x), jnp.exp(x) if name == "pearson" else x], axis=-1)


def train(name):
    """The weights of a linear V after 400 steps of Adam on fresh samples of p and q."""
    steps, batch = 400, 2048
    samples = np.random.default_rng(0).normal(size=(steps, 2, batch)).astype(np.float32)
    samples[:, 0] += 1
    loss = f_gan(DIVERGENCES[name])
    optimizer = optax.adam(optax.cosine_decay_schedule(0.2, steps))

    def objective(weights, sample):
        real, fake = features(name, sample) @ weights
        return loss.discriminator(real, fake)

    def step(carry, sample):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(objective)(weights, sample), state)
        return (optax.apply_updates(weights, updates), state), None

    weights = jnp.zeros(2)
    carry = weights, optimizer.init(weights)
    return jax.jit(lambda carry: jax.lax.scan(step, carry, samples)[0][0])(carry)


@rows
def test_training_recovers_divergence_and_ratio(name):
    row = DIVERGENCES[name]
    weights = train(name)

    v = features(name, jnp.asarray(X, jnp.float32)) @ weights
    bound = (P * row.activation(v)).sum() - (Q * row.conjugate_activation(v)).sum()
    np.testing.assert_allclose(bound, VALUES[name], rtol=0.02)

    x = jnp.array([-1.0, 0, 1, 2])
    v = features(name, x) @ weights
    if name == "total_variation":
        np.testing.assert_array_equal(np.sign(v), np.sign(x - 0.5))
    else:
        np.testing.assert_allclose(row.ratio(v), np.exp(x - 0.5), rtol=0.05)
