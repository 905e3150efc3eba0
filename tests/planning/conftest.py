from collections.abc import Callable
from typing import Any

import pytest

from morula.planning.fingerprint import Distribution, Fingerprint, ImageFacts, ModalityFacts


def spread(low: float, middle: float, high: float) -> Distribution:
    """A distribution whose 5, 50 and 95 percentiles are given."""
    return Distribution(
        n=100, p1=low, p5=low, p25=low, p50=middle, p75=high, p95=high, p99=high, largest=high
    )


def facts_of(ndim: int = 2, size: float = 20.0, **changes: Any) -> Fingerprint:
    """A plausible fingerprint: 40 grey images with 30 objects each, 20 px across."""
    shape = (256, 256) if ndim == 2 else (40, 60, 60)
    n_images = changes.pop("n_images", 40)
    channels = changes.pop("names", [("grey",)] * n_images)
    images = tuple(
        ImageFacts(id=f"{i}", shape=shape, channels=names, dtype="uint8", labelled=True, n_objects=30)
        for i, names in enumerate(channels)
    )
    table: dict[str, Any] = {
        "ndim": ndim,
        "n_images": n_images,
        "n_labelled": n_images,
        "n_unlabelled": 0,
        "n_objects": 30 * n_images,
        "shape_median": shape,
        "shape_smallest": shape,
        "shape_largest": shape,
        "channels": {},
        "dtypes": {"uint8": n_images},
        "diameter_px": spread(size / 2, size, size * 2),
        "image_diameter_px": spread(size / 2, size, size * 2),
        "objects_per_image": spread(30, 30, 30),
        "touching": 0.2,
        "density": 0.15,
        "solidity": spread(0.9, 0.95, 1.0),
        "extent_px": (spread(size, size, size * 2),) * ndim,
        "modalities": (modality("kind 1", 3.0),),
        "images": images,
    }
    return Fingerprint(**{**table, **changes})


def modality(name: str, contrast: float) -> ModalityFacts:
    """A modality with bright (positive) or dark (negative) objects."""
    return ModalityFacts(
        name=name,
        n_images=10,
        n_labelled=10,
        n_objects=300,
        channels=("grey",),
        diameter_px=spread(10, 20, 40),
        touching=0.1,
        density=0.1,
        contrast=contrast,
    )


@pytest.fixture
def make_facts() -> Callable[..., Fingerprint]:
    return facts_of


@pytest.fixture
def make_modality() -> Callable[[str, float], ModalityFacts]:
    return modality
