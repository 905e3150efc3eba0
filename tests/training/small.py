"""A plan and prepared arrays small enough to train in a test."""

from pathlib import Path

import numpy as np

from morula.planning.plan import Augmentation, Inference, Plan, Scaling, Training
from morula.preprocessing.prepare import Prepared
from synthetic import picture_of, touching_balls


def small_plan(ndim: int = 2, network: dict | None = None, **training) -> Plan:
    size = (32,) * ndim
    return Plan(
        ndim=ndim,
        channels=("grey",),
        halo_px=(8,) * ndim,
        scaling=Scaling(diameter_px=12.0),
        representation={
            "kind": "union",
            "parts": {"borders": {"kind": "shrunk_borders"}, "distance": {"kind": "signed_distance"}},
            "decoder": "borders",
        },
        network=network or {"kind": "residual_unet", "features": (8, 16), "blocks": (1, 1)},
        training=Training(
            **{"steps": 8, "batch_size": 2, "patch_size": size, "validate_every": 4, **training}
        ),
        inference=Inference(tile_size=(64,) * ndim, mirror="none"),
    )


def prepared(folder: Path, count: int = 3, ndim: int = 2) -> tuple[Prepared, ...]:
    samples = []
    for index in range(count):
        target = folder / f"sample{index}"
        target.mkdir(parents=True)
        labels = touching_balls(ndim, shape=48, radius=6 + index)
        image = (picture_of(labels, seed=index) / np.float32(200)).astype(np.float16)[None]
        np.save(target / "image.npy", image)
        np.save(target / "labels.npy", labels)
        paths = target / "image.npy", target / "labels.npy"
        modality = "bright" if index % 2 else "dark"
        samples.append(Prepared(f"sample{index}", *paths, {"modality": modality}, modality, 12.0))
    return tuple(samples)


AUGMENTED = Augmentation(
    elastic=1.0, copy_paste=0.5, blur=0.5, noise=0.5, invert=0.5, gamma=0.5, per_object=0.5
)
