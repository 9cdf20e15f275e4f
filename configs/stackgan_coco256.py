"""StackGAN on COCO at 256 pixels, of captions: networks and schedule of the authors' code.

Expected: Inception score 8.45, published by Zhang et al. 2017 (table 1). The folder holds the
82,783 training images of 2014 with a metadata.jsonl whose `text` is the vector of a caption: the
authors' have 1,024 numbers, by the char-CNN-RNN of Reed et al. 2016. Where it is sentences, add
`--system.encoder minilm --system.embedding 384`. Stage I takes 120 epochs, stage II 100; images are
brought to 256 pixels whole, where the authors cut them out of 304.
Hardware: one GPU; a guess: a week on an A100.

    jaxgan train configs/stackgan_coco256.py --data coco
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.stackgan import StackGAN

SYSTEM = StackGAN()

config = Experiment(
    system=SYSTEM,
    data=Data(source="coco", resize=True, flip=True),
    batch=40,
    steps=SYSTEM.steps + 207_000,
    checkpoint=Checkpoint(every=5000),
    log=Log(every=200, samples=5000, grid=16),
)
