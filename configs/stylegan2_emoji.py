"""StyleGAN2 on emoji with their transparency, at 32 pixels on two CPU cores.

3,346 pictures of nine tenths of the names (`jaxgan/data/emoji.py` says how to get them), RGBA: what
it draws has an exact mask, its alpha, which dissection takes as a concept; in under five minutes.
It draws silhouettes of faces, busts and things in a few colours, not the emoji's details.

    jaxgan train configs/stylegan2_emoji.py --data emoji:FOLDER:google:train
    jaxgan sample runs/stylegan2_emoji --out emoji.png
    jaxgan dissect runs/stylegan2_emoji --layer synthesis/conv2 --concepts alpha --quantile 0.5 \\
        --out units
    jaxgan paint runs/stylegan2_emoji --units units --erase alpha --at mask.png --out erased.png
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stylegan2 import StyleGAN2

config = Experiment(
    system=StyleGAN2(
        shape=(32, 32, 4),
        latent=64,
        width=256,
        max_channels=128,
        mapping_layers=2,
        discriminator_architecture="orig",
        group=8,
        mixing=0.0,
        learning_rate=4e-3,
        gamma=5.0,
        r1_every=2,
        path_weight=0.0,
        ema_decay=0.99,
    ),
    data=Data(source="emoji:emoji:google:train", resize=True),
    batch=16,
    augment="translation",
    steps=5000,
    checkpoint=Checkpoint(every=1000),
    log=Log(every=100, samples=500, grid=64),
)
