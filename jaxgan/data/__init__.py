"""Data: sources of items in any order, a scan before training, batches by (seed, step)."""

from jaxgan.data.arrayrecord import Packed, open_packed
from jaxgan.data.base import Arrays, Columns, Fitting, Item, Source
from jaxgan.data.embedded import EMBEDDED, modes
from jaxgan.data.encoded import Encoded
from jaxgan.data.folder import open_folder, open_tar, open_zip
from jaxgan.data.hf import open_hf, open_parquet
from jaxgan.data.identity import content_hash, content_hashes
from jaxgan.data.match import Match, about, match, refuse_unsuitable
from jaxgan.data.npz import open_npz
from jaxgan.data.pack import pack
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
from jaxgan.data.scan import Report, notes_of, scan, skipped_of
from jaxgan.data.source import FINGERPRINT, as_source, by_names, fingerprint, open_source
from jaxgan.data.tfds import Tfds, open_tfds
from jaxgan.fields.pixels import Fit, Reading, load, read

__all__ = [
    "EMBEDDED",
    "FINGERPRINT",
    "PHOTOS",
    "Arrays",
    "Batches",
    "Columns",
    "Edges",
    "Encoded",
    "Fit",
    "Fitting",
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
    "by_names",
    "content_hash",
    "content_hashes",
    "contours",
    "edges",
    "fingerprint",
    "load",
    "match",
    "modes",
    "notes_of",
    "open_folder",
    "open_hf",
    "open_image",
    "open_npz",
    "open_packed",
    "open_parquet",
    "open_source",
    "open_tar",
    "open_tfds",
    "open_zip",
    "pack",
    "read",
    "refuse_unsuitable",
    "scan",
    "skipped_of",
]
