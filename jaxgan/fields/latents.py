"""What is drawn at random, or drawn from the data."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxgan.errors import UserError
from jaxgan.fields.base import Drawable, Field
from jaxgan.interpolate import lerp, slerp


@dataclasses.dataclass(frozen=True)
class Normal(Drawable, Field):
    """Standard normal numbers; truncation redraws those beyond +-truncation."""

    def draw(self, key: PRNGKeyArray, truncation: Float[Array, ""] | None) -> Array:
        """One item."""
        if truncation is None:
            return jax.random.normal(key, self._static())
        return jax.random.truncated_normal(key, -truncation, truncation, self._static())

    def between(self, a: Array, b: Array, t: Float[Array, " n"]) -> Array:
        """On the arc about the origin, where such numbers lie."""
        return slerp(a, b, t)

    def along(
        self,
        item: np.ndarray | np.generic,
        count: int,
        place: int = 0,
        span: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """One of the numbers from -2 to 2, between which 95% of them are."""
        return _swept(item, count, place, span or (-2.0, 2.0))


@dataclasses.dataclass(frozen=True)
class Uniform(Drawable, Field):
    """Numbers from `low` to `high`."""

    _: dataclasses.KW_ONLY
    low: float = -1.0
    high: float = 1.0

    def draw(self, key: PRNGKeyArray, truncation: Float[Array, ""] | None) -> Array:
        """One item."""
        del truncation
        return jax.random.uniform(key, self._static(), minval=self.low, maxval=self.high)

    def between(self, a: Array, b: Array, t: Float[Array, " n"]) -> Array:
        """On the straight line."""
        return lerp(a, b, t)

    def along(
        self,
        item: np.ndarray | np.generic,
        count: int,
        place: int = 0,
        span: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """One of the numbers from `low` to `high`."""
        return _swept(item, count, place, span or (self.low, self.high))

    def text(self) -> str:
        """How many numbers, and their range."""
        return f"{super().text()} from {self.low:g} to {self.high:g}"


@dataclasses.dataclass(frozen=True)
class Number(Drawable, Field):
    """One number that has a default, such as psi: per item, so that a sweep compiles nothing.

    Attributes:
      default: What it is where it is not given.
      low: The least that may be given.
      high: The most.
    """

    _: dataclasses.KW_ONLY
    default: float = 1.0
    low: float = -np.inf
    high: float = np.inf

    typed: ClassVar[bool] = True

    def draw(self, key: PRNGKeyArray, truncation: Float[Array, ""] | None) -> Array:
        """The default."""
        del key, truncation
        return jnp.float32(self.default)

    def between(self, a: Array, b: Array, t: Float[Array, " n"]) -> Array:
        """On the straight line."""
        return lerp(a, b, t)

    def read(self, text: str) -> np.float32:
        """A number within the range."""
        try:
            value = float(text)
        except ValueError:
            raise UserError(
                f"{text!r} is no number: it goes from {self.low:g} to {self.high:g}"
            ) from None
        return self._accepted(value)

    def _accepted(self, item: Any) -> np.float32:
        if isinstance(item, str):
            return self.read(item)
        if not self.low <= item <= self.high:
            raise UserError(f"{item:g} is too far: it goes from {self.low:g} to {self.high:g}")
        return np.float32(item)

    def along(
        self,
        item: np.ndarray | np.generic,
        count: int,
        place: int = 0,
        span: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """From `low` to `high`."""
        low, high = span or (self.low, self.high)
        if not np.isfinite([low, high]).all():
            raise UserError(f"a number goes from {low:g} to {high:g}: say from where to where")
        return _swept(item, count, place, (low, high))

    def text(self) -> str:
        """The range and the default."""
        return f"number from {self.low:g} to {self.high:g}, {self.default:g} by default"


def _swept(
    item: np.ndarray | np.generic, count: int, place: int, span: tuple[float, float]
) -> np.ndarray:
    """Copies of an item in which one number goes from one end to the other."""
    if not 0 <= place < item.size:
        raise UserError(f"number {place} of {item.size}: they count from 0 to {item.size - 1}")
    items = np.repeat(np.asarray(item)[None], count, 0)
    items.reshape(count, -1)[:, place] = np.linspace(*span, count)
    return items


@dataclasses.dataclass(frozen=True)
class FromData(Field):
    """What is drawn from the data: the field that `System.data()` has under the name `column`."""
