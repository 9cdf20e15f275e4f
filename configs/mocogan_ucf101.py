"""MoCoGAN on UCF-101 (Tulyakov et al. 2018).

The paper has an inception score of 12.42 +- 0.03 (of clips, by C3D). The settings are those that a
user of the authors' code gives there (issue 16): 101 categories, which are found, not given, every
second frame, noise of 0.1, batches of 32. Not reproduced here.

    jaxgan train configs/mocogan_ucf101.py
    jaxgan sample runs/mocogan_ucf101 --num 16 --out clips.gif
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.mocogan import MoCoGAN

config = Experiment(
    system=MoCoGAN(shape=(16, 64, 64, 3), classes=101, noise=0.1),
    data=Data(source="tfds:ucf101", stride=2, resize=True),
    batch=32,
    steps=100_000,
    checkpoint=Checkpoint(every=5000),
    log=Log(every=100, samples=1000, grid=16),
)
