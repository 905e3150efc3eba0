"""Prepared arrays in, weights out."""
