"""Labels: one of a number of classes, which data give names."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan.errors import UserError, nearest
from jaxgan.fields.base import PLAIN, Drawable, Field, Framing


@dataclasses.dataclass(frozen=True)
class Label(Drawable, Field):
    """A class by its number; drawn uniformly.

    Attributes:
      classes: How many there are.
      names: Of all classes, by number, where they are known.
    """

    _: dataclasses.KW_ONLY
    classes: int = 0
    names: tuple[str, ...] = ()

    dtype: ClassVar[type] = np.int32

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Another number of classes."""
        if not isinstance(found, Label):
            return super().refusal(found, framing)
        if found.classes < 2:
            has = f"only the class {found.names[0]!r}" if found.names else "no labels"
            return (
                f"has {has}, the system is conditional on {self.classes} classes: use one "
                "sub-folder per class, or --system.classes 0"
            )
        if found.classes != self.classes:
            return (
                f"has {found.classes} classes, the system expects {self.classes}: "
                f"set --system.classes {found.classes}"
            )
        return None

    def bind(self, about: Mapping[str, Any]) -> "Label":
        """The label with the names of the data's classes."""
        names = tuple(about.get("names", ()))
        return dataclasses.replace(self, names=names) if len(names) == self.classes else self

    def about(self) -> dict[str, Any]:
        """The classes' names."""
        return {"names": list(self.names)}

    def read(self, text: str) -> Int[np.ndarray, ""]:
        """A class by its name, or by its number where no class has that name."""
        if text in self.names:
            return np.int32(self.names.index(text))  # type: ignore[return-value]
        known = f"{self.classes} classes, 0 to {self.classes - 1}"
        if self.names != tuple(map(str, range(self.classes))) and self.names:
            known += f" ({', '.join(self.names[:10])}{', ...' if self.classes > 10 else ''})"
        try:
            number = int(text)
        except ValueError:
            raise UserError(
                f"label {text!r}: there are {known}{nearest(text, self.names)}"
            ) from None
        if not 0 <= number < self.classes:
            raise UserError(f"label {number}: this run has {known}")
        return np.int32(number)  # type: ignore[return-value]

    def noise(self, rng: np.random.Generator, count: int) -> Int[np.ndarray, " n"]:
        """Random classes."""
        return rng.integers(0, self.classes, count, np.int32)

    def name(self, number: int) -> str:
        """Of a class; its number where it has none."""
        return self.names[number] if self.names else str(number)

    def draw(self, key: PRNGKeyArray, truncation: Float[Array, ""] | None) -> Int[Array, ""]:
        """A class, uniformly."""
        del truncation
        return jax.random.randint(key, (), 0, self.classes)

    def text(self) -> str:
        """How many classes there are."""
        return f"label of {self.classes} classes"
