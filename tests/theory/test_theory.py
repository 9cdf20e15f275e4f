"""Games of Gaussians against closed forms and integrals that are computed here in another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import integrate, stats

from jaxgan import losses
from jaxgan.cli import main
from jaxgan.divergences import DIVERGENCES
from jaxgan.theory import games
from jaxgan.theory.gaussians import (
    GRID,
    Gaussian,
    estimated_divergence,
    integral,
    misplaced,
    true_divergence,
)

P, Q = Gaussian(0.0, 1.0), Gaussian(1.0, 1.5)
JENSEN_SHANNON = DIVERGENCES["jensen_shannon"]


def jensen_shannon(mean: float, deviation: float) -> float:
    """Of N(0, 1) and N(mean, deviation²), in nats, by SciPy's adaptive quadrature."""

    def density(x: float) -> float:
        logs = stats.norm.logpdf(x), stats.norm.logpdf(x, mean, deviation)
        middle = np.logaddexp(*logs) - np.log(2)
        return sum(np.exp(log) * (log - middle) for log in logs) / 2

    return integrate.quad(density, -12, 18, limit=500, epsabs=1e-12)[0]


def true_logits(name: str) -> np.ndarray:
    """The best raw output for p/q, by the table in divergences.py."""
    log = P.log_density() - Q.log_density()
    ratio = np.exp(log)
    best = {"kl": 1 + log, "pearson": 2 * (ratio - 1), "squared_hellinger": log / 2}
    return best.get(name, log)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (1.0, 1.5), (3.0, 0.5), (8.0, 1.0)])
def test_jensen_shannon_divergence(mean, deviation):
    found = true_divergence(JENSEN_SHANNON, P, Gaussian(mean, deviation)) / 2
    np.testing.assert_allclose(found, jensen_shannon(mean, deviation), rtol=1e-9, atol=1e-12)


def test_divergences_with_closed_forms():
    # KL(N(0,1), N(m,s²)) = ln s + (1 + m²)/(2s²) - 1/2; reverse: -ln s + (s² + m²)/2 - 1/2.
    found = true_divergence(DIVERGENCES["kl"], P, Q)
    np.testing.assert_allclose(found, np.log(1.5) + 2 / 4.5 - 0.5, rtol=1e-9)
    found = true_divergence(DIVERGENCES["reverse_kl"], P, Q)
    np.testing.assert_allclose(found, -np.log(1.5) + 3.25 / 2 - 0.5, rtol=1e-9)
    # Squared Hellinger: 2 - 2 sqrt(2s/(1+s²)) exp(-m²/(4(1+s²))).
    found = true_divergence(DIVERGENCES["squared_hellinger"], P, Q)
    affinity = np.sqrt(3 / 3.25) * np.exp(-1 / 13)
    np.testing.assert_allclose(found, 2 - 2 * affinity, rtol=1e-9)


@pytest.mark.parametrize("name", games.RATIOS)
def test_the_best_logits_give_the_divergence_and_the_ratio_others_less(name):
    row, logits = DIVERGENCES[name], true_logits(name)
    true = true_divergence(row, P, Q)
    np.testing.assert_allclose(estimated_divergence(row, P, Q, logits), true, rtol=1e-9)
    assert estimated_divergence(row, P, Q, 0.9 * logits + 0.05) < true
    assert misplaced(row, P, Q, logits) < 1e-6
    nothing = np.full_like(GRID, {"kl": 1.0}.get(name, 0.0))  # a ratio of 1 everywhere
    apart = integral(np.abs(P.density() - Q.density())) / 2
    np.testing.assert_allclose(misplaced(row, P, Q, nothing), apart, rtol=1e-5)


@pytest.fixture(scope="module")
def learned():
    return games.discriminability(steps=120)


def test_estimates_follow_the_divergence_from_below_and_fall_as_g_improves(learned):
    means, deviations = np.asarray(learned.fakes.mean), np.asarray(learned.fakes.deviation)
    for step in (0, 60, 119):
        exact = jensen_shannon(means[step], deviations[step])
        np.testing.assert_allclose(learned.true[step], exact, rtol=1e-6)
    assert (learned.estimated <= learned.true + 1e-7).all()
    assert (learned.true - learned.estimated).max() < 0.01
    assert learned.estimated[0] > 0.5
    assert learned.estimated[-1] < 0.05


def test_gradients_by_logit_vanish_or_come_to_one_where_d_is_sure():
    sure = jnp.array([-30.0, -10.0])
    by_logit = {
        name: np.abs(jax.vmap(jax.grad(loss.on_generated))(sure))
        for name, (loss, _) in games.GAMES.items()
    }
    np.testing.assert_allclose(by_logit["saturating"], np.exp(sure), rtol=1e-4)
    np.testing.assert_allclose(by_logit["non_saturating"], 1, rtol=1e-4)
    np.testing.assert_array_equal(by_logit["wasserstein"], 1)


@pytest.mark.parametrize("distance", [1.0, 4.0, 8.0])
def test_gradients_where_d_is_the_best(distance):
    fakes = Gaussian(distance, 1.0)
    found = {
        name: float(games.generator_gradient(loss, games.best_critic(loss, fakes), fakes))
        for name, (loss, _) in games.GAMES.items()
    }
    # d(x) = m (m/2 - x), so that the gradients are m E σ(d) and m E σ(-d), whose sum is m.
    fooled = integrate.quad(
        lambda x: stats.norm.pdf(x, distance) / (1 + np.exp(distance * (x - distance / 2))), -9, 17
    )[0]
    np.testing.assert_allclose(found["saturating"], distance * fooled, rtol=1e-4)
    np.testing.assert_allclose(found["non_saturating"], distance * (1 - fooled), rtol=1e-4)
    np.testing.assert_allclose(found["wasserstein"], 1, rtol=1e-4)


def test_the_saturating_gradient_is_that_of_the_divergence():
    # D the best, the saturating loss's gradient is half that of twice the JSD's estimate.
    fakes = Gaussian(2.0, 1.0)
    critic = games.best_critic(losses.saturating, fakes)
    step = 1e-3
    slope = (jensen_shannon(2 + step, 1.0) - jensen_shannon(2 - step, 1.0)) / (2 * step)
    found = games.generator_gradient(losses.saturating, critic, fakes)
    np.testing.assert_allclose(found / 2, slope, rtol=1e-4)


def test_the_command(learned, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(games, "discriminability", lambda seed: learned)
    monkeypatch.setattr(games, "RATIOS", ("jensen_shannon", "pearson"))
    for name, steps in (("gradients", 300), ("ratios", 200)):
        whole = getattr(games, name)
        monkeypatch.setattr(games, name, lambda seed, whole=whole, n=steps: whole(seed, n))
    out = tmp_path / "pictures"
    assert main(["theory", "--out", str(out)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    last = next(row for row in rows if row and row[0] == "300")
    saturating, non_saturating, wasserstein = map(float, last[1:])
    assert saturating < 0.01
    assert non_saturating > 2
    assert wasserstein == pytest.approx(1 + 8 / 20, abs=0.05)  # slope s: -8s + 10 (s - 1)²
    within = {row[0]: float(row[1].rstrip("%")) for row in rows if row and row[0] in games.RATIOS}
    assert within.keys() == set(games.RATIOS)
    assert max(within.values()) < 10
    assert within["jensen_shannon"] < 3
    for name in ("discriminability", "gradients", "ratios"):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.size[1] == 360


def test_out_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["theory", "--out", str(tmp_path / "file")]) == 2
    assert "which is a file: give a folder" in capsys.readouterr().err
