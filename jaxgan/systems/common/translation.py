"""What pix2pix and CycleGAN share: patches that are judged, and Adam whose steps fall to 0.

Where the step size falls, it does so from iteration to iteration, and is 0 after the last. The
authors' PyTorch code lowers it once an epoch, in n epochs by 1/(n + 1) of it each.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
import optax

from jaxgan.errors import UserError
from jaxgan.nn.patchgan import PatchGAN, smallest_side
from jaxgan.ranges import Count, DecayRate, Halvings, Positive, Rate, Shape, Stretch
from jaxgan.system import System
from jaxgan.systems.common.generative import falling_adam


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translation(System):
    """Image-to-image translation. Subclasses add networks and losses."""

    shape: Shape = (256, 256, 3)
    """Height, width and channels of an image that is to be made."""
    width: Positive = 64
    """Channels of the generators' layers next to the image."""
    discriminator_width: Count = 0
    """Channels of the discriminators' layers next to the image; 0: `width`."""
    patch_halvings: Halvings = 3
    """Convolutions of stride two in a discriminator: 3 judges patches of 70x70 pixels, 2 of 34x34,
    1 of 16x16; with patch_kernel 3, 47x47, 23x23 and 11x11."""
    patch_kernel: Literal[3, 4] = 4
    """Taps a side of the discriminators' convolutions."""
    learning_rate: Rate = 2e-4
    """Adam's step size, for both players."""
    betas: tuple[DecayRate, DecayRate] = (0.5, 0.999)
    """Adam's decay rates."""
    decay: Stretch = (0, 0)
    """Iterations between which the step size falls linearly to 0; equal ones: it stays."""
    ema_decay: DecayRate = 0.0
    """What averages of the generators' weights keep in an iteration; 0: there are none."""

    def __post_init__(self) -> None:
        least = smallest_side(self.patch_halvings, self.patch_kernel)
        if min(self.shape[:2]) < least:
            raise UserError(
                f"image shape {self.shape}: a discriminator with patch_halvings "
                f"{self.patch_halvings} judges images of at least {least} pixels a side; take fewer"
            )

    def patchgan(self, *, affine: bool) -> PatchGAN:
        """A discriminator; `affine`: see there."""
        width = self.discriminator_width or self.width
        dtype = jnp.dtype(self.dtype)
        return PatchGAN(width, self.patch_halvings, affine, dtype, self.patch_kernel)

    def adam(self) -> optax.GradientTransformation:
        """Adam with the declared schedule."""
        return falling_adam(self.learning_rate, self.betas, self.decay)
