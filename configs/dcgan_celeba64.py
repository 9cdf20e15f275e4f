"""DCGAN on CelebA at 64x64, by the recipe of PyTorch's example.

Expected: a Frechet distance near 21.4, which Heusel et al. 2017 (TTUR) publish for DCGAN on CelebA;
their networks, crop and evaluation differ in details.
Hardware: one GPU; a guess: under an hour on an A100.

    jaxgan train configs/dcgan_celeba64.py

A folder of images does as well: `--data path/to/img_align_celeba`.
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.dcgan import DCGAN

config = Experiment(
    system=DCGAN(),
    data=Data(source="tfds:celeb_a", crop=160, resize=True),
    batch=128,
    steps=32_000,  # 25 epochs
)
