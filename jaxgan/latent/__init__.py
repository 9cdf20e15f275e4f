"""What one does with trained generators, written over uses: any system that has them can."""

from jaxgan.latent.mixing import mix
from jaxgan.latent.walk import walk

__all__ = ["mix", "walk"]
