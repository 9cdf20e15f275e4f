"""The interval between saves against a search, and the share lost against a simulation."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from jaxgan.training.interval import best_interval, share_lost

HOUR = 3600.0


@pytest.mark.parametrize("waits", [0.3, 3.0, 30.0, 300.0])
@pytest.mark.parametrize("restart", [0.0, 600.0])
def test_no_interval_loses_less(waits, restart):
    between = 6 * HOUR

    def lost(interval):
        return share_lost(interval, waits, waits, restart, between)

    found = best_interval(waits, waits, between)
    best = minimize_scalar(lost, bounds=(1.0, between), method="bounded", options={"xatol": 1e-3})
    assert found == pytest.approx(best.x, rel=2e-3)
    assert lost(found) <= best.fun + 1e-6
    assert found == pytest.approx(math.sqrt(2 * waits * between), rel=0.1)  # Young's


def simulated(interval, waits, written, restart, between, rng):
    """Share of the time that is lost, of many cut-offs."""
    useful = total = 0.0
    for lasts in rng.exponential(between, 20_000):
        total += lasts
        lasts -= restart  # a cut-off while it restarts leaves nothing done
        if lasts <= 0:
            continue
        # The n-th save begins after n intervals, and the n - 1 for which training waited.
        saves = int(lasts // (interval + waits)) + 1
        begun = np.arange(1, saves + 1) * (interval + waits) - waits
        useful += interval * np.count_nonzero(begun + written <= lasts)
    return 1 - useful / total


@pytest.mark.parametrize("written", [20.0, 200.0])
def test_the_share_lost_is_that_of_a_simulation(rng, written):
    between, waits, restart = HOUR, 20.0, 120.0
    for interval in (200.0, best_interval(waits, written, between), 1500.0):
        expected = simulated(interval, waits, written, restart, between, rng)
        found = share_lost(interval, waits, written, restart, between)
        assert found == pytest.approx(expected, rel=0.04)


def test_saves_do_not_overlap():
    assert best_interval(0.01, 500.0, HOUR) == 500


def test_saves_that_cost_more_than_they_keep_come_once_in_the_time_between_cut_offs():
    assert best_interval(3 * HOUR, 3 * HOUR, HOUR) == 3 * HOUR
    assert best_interval(2 * HOUR, 60.0, HOUR) == HOUR


def test_what_is_never_saved_is_lost():
    assert share_lost(1e9, 1.0, 1.0, 1.0, 8.0) == 1
