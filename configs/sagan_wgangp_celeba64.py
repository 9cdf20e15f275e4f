"""SAGAN in its widespread small form with that code's default loss, WGAN-GP, on CelebA at 64x64.

As `sagan_celeba64`, but for the loss; for five updates of the discriminator, as the code's option
d_iters says and nothing in it reads; and for spectral norm, which its readme takes out with this
loss.

Expected: heykeetae's code publishes no score; not measured here.
Hardware: one GPU; a guess: three days on an A100.

    jaxgan train configs/sagan_wgangp_celeba64.py

A folder of images does as well: `--data path/to/img_align_celeba`.
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.sagan import SAGAN

config = Experiment(
    system=SAGAN(loss="wgan-gp", discriminator_updates=5, spectral=False),
    data=Data(source="tfds:celeb_a", crop=160, resize=True),
    batch=64,
    steps=1_000_000,
)
