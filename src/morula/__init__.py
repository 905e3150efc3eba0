"""Morula: self-configuring instance segmentation for biomedical images."""

__version__ = "0.1.0"
