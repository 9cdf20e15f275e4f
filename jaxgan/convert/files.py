"""What a format's module says of the files of a training."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from jaxgan.errors import UserError
from jaxgan.system import System


class Part(NamedTuple):
    """A network that a file holds, or the average of its parameters."""

    network: str
    average: bool = False


@dataclasses.dataclass(frozen=True)
class Found:
    """The system whose networks files hold.

    Attributes:
        system: with the sizes that the files' tensors have.
        guessed: {field of the system: why it is so}: what files do not say, and import chooses.
        notes: sentences for who imports: where the networks differ from their originals.
    """

    system: System
    guessed: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def one_file(
    format: str, generator: str | Path, discriminator: str | Path | None
) -> dict[str, str | Path]:
    """{network: file} of a format that has both networks in one file.

    Raises:
        UserError: a second file is given.
    """
    if discriminator is not None:
        raise UserError(
            f"{discriminator} is one file too many: the discriminator of {format} is in the "
            "generator's file; leave it out"
        )
    return {"generator": generator}
