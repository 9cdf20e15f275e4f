"""How often to save where training is cut off now and then: neither too much is saved nor lost.

Young, "A first order approximation to the optimum checkpoint interval", 1974; Daly, "A higher order
estimate of the optimum checkpoint interval for restart dumps", 2006. Cut-offs come at random, at a
constant rate. Saves are written in the background, so their cost is what training waits for; until
one is whole, the one before is what a cut-off goes back to.
"""

import math


def best_interval(waits: float, written: float, between: float) -> float:
    """Seconds of training between saves that lose least of the time.

    Young's sqrt(2 waits between) with Daly's corrections. How long a restart takes does not move
    it. At least `written`, for a save waits for the one before it.

    Args:
        waits: seconds for which training waits for a save.
        written: seconds from the beginning of a save until it can be restored.
        between: mean seconds from one cut-off to the next.
    """
    if waits >= 2 * between:
        return max(between, written)
    share = waits / (2 * between)
    young = math.sqrt(2 * waits * between)
    return max(young * (1 + math.sqrt(share) / 3 + share / 9) - waits, written)


def share_lost(
    interval: float, waits: float, written: float, restart: float, between: float
) -> float:
    """Share of the time that goes into saves, restarts and what is done again, in the mean.

    Daly's expectation, in which what has not been written yet counts with the restart.

    Args:
        interval: seconds of training between saves; above 0.
        waits: as above.
        written: as above.
        restart: seconds from a cut-off until training goes on.
        between: as above.
    """
    again, turn = (restart + written - waits) / between, (interval + waits) / between
    return 1 - interval / between * math.exp(-again - turn) / -math.expm1(-turn)
