"""Data: sources of items in any order, a scan before training, batches by (seed, step)."""

from jaxgan.data.arrayrecord import Packed, open_packed, pack
from jaxgan.data.base import Arrays, Columns, Item, Source
from jaxgan.data.embedded import EMBEDDED, modes
from jaxgan.data.folder import Folder, open_folder
from jaxgan.data.match import Match, about, match, refuse_unsuitable
from jaxgan.data.pairs import (
    Edges,
    Part,
    Redrawn,
    SideBySide,
    TwoSets,
    Unrelated,
    contours,
    edges,
)
from jaxgan.data.photo import PHOTOS, open_image
from jaxgan.data.pipeline import Batches, Order, Stepwise, batches
from jaxgan.data.scan import Report, scan
from jaxgan.data.source import as_source, fingerprint, open_source
from jaxgan.data.tfds import Tfds, open_tfds
from jaxgan.fields.pixels import Fit, Reading, load, read

__all__ = [
    "EMBEDDED",
    "PHOTOS",
    "Arrays",
    "Batches",
    "Columns",
    "Edges",
    "Fit",
    "Folder",
    "Item",
    "Match",
    "Order",
    "Packed",
    "Part",
    "Reading",
    "Redrawn",
    "Report",
    "SideBySide",
    "Source",
    "Stepwise",
    "Tfds",
    "TwoSets",
    "Unrelated",
    "about",
    "as_source",
    "batches",
    "contours",
    "edges",
    "fingerprint",
    "load",
    "match",
    "modes",
    "open_folder",
    "open_image",
    "open_packed",
    "open_source",
    "open_tfds",
    "pack",
    "read",
    "refuse_unsuitable",
    "scan",
]
