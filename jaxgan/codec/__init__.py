"""Files that hold what a run's "encode" gives of an image, and that its "decode" makes it of."""

from jaxgan.codec.codec import Codec, Written

__all__ = ["Codec", "Written"]
