"""Shares of a whole, such as those of several styles."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan.errors import UserError
from jaxgan.fields.base import Drawable, Field
from jaxgan.interpolate import lerp


class Shares(Drawable, Field):
    """Numbers from 0 that are divided by their sum; equal ones where none are given."""

    def draw(self, key: PRNGKeyArray, truncation: Float[Array, ""] | None) -> Array:
        """Equal shares."""
        del key, truncation
        return jnp.full(self._static(), 1 / self._static()[0])

    def between(self, a: Array, b: Array, t: Float[Array, " n"]) -> Array:
        """On the straight line."""
        return lerp(a, b, t)

    def read(self, text: str) -> np.ndarray:
        """Shares of numbers."""
        return self._divided(np.asarray(super().read(text)))

    def _accepted(self, item: Any) -> np.ndarray:
        return self.read(item) if isinstance(item, str) else self._divided(np.asarray(item))

    def _divided(self, item: np.ndarray) -> np.ndarray:
        item = item.astype(np.float32)
        if not (np.isfinite(item).all() and item.min(initial=0) >= 0 and item.sum() > 0):
            raise UserError(
                f"{','.join(f'{x:g}' for x in item.flat)} are no shares: give numbers from 0, of "
                "which one is above"
            )
        return item / item.sum()

    def along(
        self,
        item: np.ndarray | np.generic,
        count: int,
        place: int = 0,
        span: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """One share from 0 to 1, the others in proportion."""
        if not 0 <= place < item.size:
            raise UserError(f"number {place} of {item.size}: they count from 0 to {item.size - 1}")
        low, high = span or (0.0, 1.0)
        shares = np.linspace(low, high, count, dtype=np.float32)[:, None]
        others = np.asarray(item, np.float32).copy()
        others[place] = 0
        others = others / others.sum() if others.sum() else others
        return shares * np.eye(item.size, dtype=np.float32)[place] + (1 - shares) * others
