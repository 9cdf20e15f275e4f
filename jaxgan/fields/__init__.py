"""What arrays mean: one file a kind."""

from jaxgan.fields.base import (
    PLAIN,
    Drawable,
    Field,
    Framing,
    Geometry,
    Resolution,
    draw_items,
    named_key,
)
from jaxgan.fields.clip import Clip
from jaxgan.fields.coded import Coded, Padded, PaddedClip, PaddedMask
from jaxgan.fields.flow import Flow
from jaxgan.fields.image import Image
from jaxgan.fields.label import Label
from jaxgan.fields.latents import FromData, Normal, Number, Uniform
from jaxgan.fields.mask import Mask
from jaxgan.fields.points import Attention, Codes, Points
from jaxgan.fields.shares import Shares
from jaxgan.fields.text import Text

__all__ = [
    "PLAIN",
    "Attention",
    "Clip",
    "Coded",
    "Codes",
    "Drawable",
    "Field",
    "Flow",
    "Framing",
    "FromData",
    "Geometry",
    "Image",
    "Label",
    "Mask",
    "Normal",
    "Number",
    "Padded",
    "PaddedClip",
    "PaddedMask",
    "Points",
    "Resolution",
    "Shares",
    "Text",
    "Uniform",
    "draw_items",
    "named_key",
]
