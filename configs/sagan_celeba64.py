"""SAGAN in its widespread small form on CelebA at 64x64.

Expected: heykeetae's code publishes samples and attention maps, no score.
Hardware: one GPU; a guess: a day on an A100.

    jaxgan train configs/sagan_celeba64.py

A folder of images does as well: `--data path/to/img_align_celeba`.
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.sagan import SAGAN

config = Experiment(
    system=SAGAN(),
    data=Data(source="tfds:celeb_a", crop=160, resize=True),
    batch=64,
    steps=1_000_000,
)
