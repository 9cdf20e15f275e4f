"""Data: sources of items in any order, a scan before training, batches by (seed, step)."""

from jaxgan.data.arrayrecord import Packed, open_packed, pack
from jaxgan.data.base import Arrays, Item, Source
from jaxgan.data.embedded import EMBEDDED, modes
from jaxgan.data.folder import Folder, open_folder
from jaxgan.data.image import Fit, load, read
from jaxgan.data.pairs import Edges, Inverted, SideBySide, TwoSets, edges
from jaxgan.data.photo import PHOTOS, open_image
from jaxgan.data.pipeline import Batches, batches
from jaxgan.data.scan import Report, check, scan
from jaxgan.data.source import fingerprint, open_source
from jaxgan.data.tfds import Tfds, open_tfds

__all__ = [
    "EMBEDDED",
    "PHOTOS",
    "Arrays",
    "Batches",
    "Edges",
    "Fit",
    "Folder",
    "Inverted",
    "Item",
    "Packed",
    "Report",
    "SideBySide",
    "Source",
    "Tfds",
    "TwoSets",
    "batches",
    "check",
    "edges",
    "fingerprint",
    "load",
    "modes",
    "open_folder",
    "open_image",
    "open_packed",
    "open_source",
    "open_tfds",
    "pack",
    "read",
    "scan",
]
