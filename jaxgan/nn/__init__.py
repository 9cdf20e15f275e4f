"""Layers that papers share: convolutions, norms, attention, spectral normalisation, blocks."""
