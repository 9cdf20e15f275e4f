"""BigGAN on ImageNet at 256x256, all 1,000 classes.

Attention and shortcuts as in compare_gan, whose parameter counts these are: attention at 128 in the
generator, no shortcut convolution at equal channels in the discriminator.

Expected: Inception score 142.3 and a Frechet distance of 8.7 without truncation, published by Brock
et al. 2019.
Hardware: the authors trained on 256 cores of a TPU v3 pod, for about two days.

    jaxgan train configs/biggan_imagenet256.py
"""

from jaxgan.config import Checkpoint, Data, Experiment
from jaxgan.systems.biggan import BigGAN

config = Experiment(
    system=BigGAN(
        shape=(256, 256, 3),
        latent=140,
        generator_attention=(128,),
        equal_shortcuts=False,
        dtype="bfloat16",
    ),
    data=Data(source="tfds:imagenet2012", resize=True, flip=True),
    batch=2048,
    steps=250_000,
    checkpoint=Checkpoint(keep=10),
)
