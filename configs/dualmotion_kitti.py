"""Dual Motion GAN on KITTI's drives (Liang et al. 2017).

The paper trains on KITTI and predicts the next frame of Caltech's pedestrians: mean squared error
0.00241, SSIM 0.899. Sizes are the paper's, ten frames of 128x160; layers are the project's, for
there is no public code. Not reproduced here.

A folder of videos, or of folders of frames, a folder a drive:

    jaxgan train configs/dualmotion_kitti.py --data clips:FOLDER
    jaxgan evaluate runs/dualmotion_kitti --metrics mse --against clips:CALTECH
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.dual_motion import DualMotionGAN

config = Experiment(
    system=DualMotionGAN(shape=(11, 128, 160, 3), observed=10),
    data=Data(source="clips:kitti", resize=True),
    batch=16,
    steps=100_000,
    checkpoint=Checkpoint(every=5000),
    log=Log(every=100, samples=1000, grid=8),
)
