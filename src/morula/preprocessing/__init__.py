"""Intensity and geometry, each with its inverse, and the cache of prepared arrays."""
