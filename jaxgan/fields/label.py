"""Labels: one of a number of classes, which data give names."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxgan.errors import UserError, listed, nearest
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
    typed: ClassVar[bool] = True

    def refusal(self, found: Field, framing: Framing = PLAIN) -> str | None:
        """Another number of classes."""
        if not isinstance(found, Label):
            return super().refusal(found, framing)
        if found.classes == self.classes > 1:
            return None
        if found.classes < 2:
            has = f"only the class {found.names[0]!r}" if found.names else "no labels"
            return (
                f"has {has}, the system is conditional on {self.classes} classes: use one "
                "sub-folder per class, or a form of the system without (--system.classes 0, "
                "--system.no-labelled)"
            )
        return (
            f"has {found.classes} classes, the system expects {self.classes}: "
            f"set --system.classes {found.classes}"
        )

    def absence(self, columns: Mapping[str, Field], *, apart: bool) -> str:
        """There are no labels."""
        del columns, apart
        return self.refusal(Label()) or ""

    def fit(self, raw: Any, framing: Framing = PLAIN) -> Int[np.ndarray, ""]:
        """The number; those of unlabelled splits are often -1."""
        del framing
        if not 0 <= raw < self.classes:
            raise UserError(
                f"an item has the label {raw}, expected 0 to {self.classes - 1}: choose a split "
                "that is labelled"
            )
        return np.asarray(raw, np.int32)

    def bind(self, about: Mapping[str, Any]) -> "Label":
        """The label with the names of the data's classes."""
        names = tuple(about.get("names", ()))
        return dataclasses.replace(self, names=names) if len(names) == self.classes else self

    def about(self) -> dict[str, Any]:
        """The classes' names."""
        return {"names": list(self.names)}

    def read(self, text: str) -> np.int32:
        """A class by its name, or by its number where no class has that name."""
        if text in self.names:
            return np.int32(self.names.index(text))
        try:
            number = int(text)
        except ValueError:
            raise UserError(
                f"no class {text!r}: there are {self._known()}{nearest(text, self.names)}"
            ) from None
        return self._numbered(number)

    def _accepted(self, item: Any) -> np.int32:
        if isinstance(item, str):
            return self.read(str(item))
        if item != int(item):
            raise UserError(f"no class {item}: there are {self._known()}")
        return self._numbered(int(item))

    def _numbered(self, number: int) -> np.int32:
        if not 0 <= number < self.classes:
            raise UserError(f"no class {number}: there are {self._known()}")
        return np.int32(number)

    def _known(self) -> str:
        """The classes, for messages."""
        known = f"{self.classes} classes, 0 to {self.classes - 1}"
        if self.names and self.names != tuple(map(str, range(self.classes))):
            known += f" ({listed(self.names)})"
        return known

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

    def along(
        self,
        item: np.ndarray | np.generic,
        count: int,
        place: int = 0,
        span: tuple[float, float] | None = None,
    ) -> Int[np.ndarray, " n"]:
        """All classes."""
        del item, count, place, span
        return np.arange(self.classes, dtype=np.int32)

    def text(self) -> str:
        """How many classes there are."""
        return f"label of {self.classes} classes"

    def plural(self) -> str:
        """How many classes there are."""
        return f"labels of {self.classes} classes"
