"""What is drawn at random, or drawn from the data."""

import dataclasses
from typing import ClassVar

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

    mirrors: ClassVar[bool] = True

    def draw(self, key: PRNGKeyArray, truncation: Float[Array, ""] | None) -> Array:
        """The default."""
        del key, truncation
        return jnp.float32(self.default)

    def between(self, a: Array, b: Array, t: Float[Array, " n"]) -> Array:
        """On the straight line."""
        return lerp(a, b, t)

    def read(self, text: str) -> np.ndarray:
        """A number within the range."""
        try:
            value = float(text)
        except ValueError:
            raise UserError(
                f"{text!r} is no number: it goes from {self.low:g} to {self.high:g}"
            ) from None
        if not self.low <= value <= self.high:
            raise UserError(f"is {value:g}: it goes from {self.low:g} to {self.high:g}")
        return np.float32(value)  # type: ignore[return-value]

    def text(self) -> str:
        """The range and the default."""
        return f"number from {self.low:g} to {self.high:g}, {self.default:g} by default"


@dataclasses.dataclass(frozen=True)
class FromData(Field):
    """What is drawn from the data: the field that `System.data()` has under the name `column`."""
