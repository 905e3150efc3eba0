"""Augmentation of other libraries, for `pipeline.py`, in an environment of its own.

``python pipeline_worker.py {monai,albumentations,torch} FOLDER``: FOLDER holds ``images.npy`` ``(n, y, x)``
float32 and ``labels.npy`` int32. For every line on standard input it makes 16 patches of 256 x 256 with one
thread and answers with the seconds of processor time. Each random change has the probability and about the
strength of the plan's defaults: flips 0.5, rotation 0.5, zoom 0.5, elastic 0.15, gain and offset 0.5, gamma
0.3, blur 0.15, noise 0.2. Nothing is encoded: that comes on top for these libraries.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PATCH, COUNT = 256, 16
Change = Callable[[np.ndarray, np.ndarray], object]


def monai() -> Change:
    """MONAI's dictionary transforms, its own random cropping included."""
    import torch
    from monai import transforms as t

    torch.set_num_threads(1)
    both = ["image", "labels"]
    modes = ("bilinear", "nearest")
    change = t.Compose([
        t.RandSpatialCropd(both, (PATCH + 64, PATCH + 64), random_size=False),
        t.RandFlipd(both, prob=0.5, spatial_axis=0),
        t.RandFlipd(both, prob=0.5, spatial_axis=1),
        t.RandRotated(both, range_x=np.pi, prob=0.5, mode=modes, padding_mode="reflection"),
        t.RandZoomd(both, prob=0.5, min_zoom=0.5, max_zoom=2.0, mode=("bilinear", "nearest")),
        t.Rand2DElasticd(both, spacing=(32, 32), magnitude_range=(2, 6), prob=0.15, mode=modes),
        t.CenterSpatialCropd(both, (PATCH, PATCH)),
        t.RandScaleIntensityd("image", factors=0.25, prob=0.5),
        t.RandShiftIntensityd("image", offsets=0.1, prob=0.5),
        t.RandAdjustContrastd("image", gamma=(0.6, 1.6), prob=0.3),
        t.RandGaussianSmoothd("image", sigma_x=(0.5, 1.5), sigma_y=(0.5, 1.5), prob=0.15),
        t.RandGaussianNoised("image", std=0.1, prob=0.2),
    ])  # fmt: skip
    return lambda image, labels: change({"image": image[None], "labels": labels[None].astype(np.float32)})


def albumentations() -> Change:
    """Albumentations (its last MIT release), on OpenCV with one thread."""
    import albumentations as a
    import cv2

    cv2.setNumThreads(0)
    mirrored = cv2.BORDER_REFLECT_101
    change = a.Compose([
        a.RandomCrop(PATCH + 64, PATCH + 64),
        a.HorizontalFlip(p=0.5),
        a.VerticalFlip(p=0.5),
        a.Affine(rotate=(-180, 180), p=0.5, border_mode=mirrored),
        a.Affine(scale=(0.5, 2.0), p=0.5, border_mode=mirrored),
        a.ElasticTransform(alpha=40, sigma=8, p=0.15, border_mode=mirrored),
        a.CenterCrop(PATCH, PATCH),
        a.RandomBrightnessContrast(0.1, 0.25, p=0.5),
        a.RandomGamma((60, 160), p=0.3),
        a.GaussianBlur(sigma_limit=(0.5, 1.5), p=0.15),
        a.GaussNoise(std_range=(0.0, 0.1), p=0.2),
    ])  # fmt: skip
    return lambda image, labels: change(image=image, mask=labels)


def torch() -> Change:
    """One sampling field per patch, put through ``grid_sample``: what a plain torch pipeline does."""
    import torch as t
    from torch.nn import functional as f

    t.set_num_threads(1)
    rng = np.random.default_rng(0)
    steps = t.linspace(-1, 1, PATCH) * PATCH / 2
    grid = t.stack(t.meshgrid(steps, steps, indexing="xy"), -1)

    def change(image: np.ndarray, labels: np.ndarray) -> object:
        angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else 0.0
        zoom = 2 ** rng.uniform(-1, 1) if rng.random() < 0.5 else 1.0
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
        turn *= rng.choice([-1, 1], 2)[:, None]
        field = grid @ t.tensor(turn.T, dtype=t.float32)
        if rng.random() < 0.15:
            coarse = t.randn(1, 2, 8, 8) * 4
            field = field + f.interpolate(coarse, (PATCH, PATCH), mode="bicubic")[0].permute(1, 2, 0)
        size = t.tensor(image.shape[::-1], dtype=t.float32)
        centre = t.tensor(rng.uniform(PATCH / 2, np.array(image.shape[::-1]) - PATCH / 2), dtype=t.float32)
        field = ((field + centre) / size * 2 - 1)[None]
        pixels = f.grid_sample(t.from_numpy(image)[None, None], field, padding_mode="reflection",
                               align_corners=False)  # fmt: skip
        ids = f.grid_sample(t.from_numpy(labels.astype(np.float32))[None, None], field, mode="nearest",
                            padding_mode="reflection", align_corners=False)  # fmt: skip
        if rng.random() < 0.5:
            pixels = pixels * rng.uniform(0.75, 1.25) + rng.uniform(-0.1, 0.1)
        if rng.random() < 0.3:
            pixels = pixels.clamp(min=0) ** rng.uniform(0.6, 1.6)
        if rng.random() < 0.15:
            taps = t.exp(-(t.arange(-4.0, 5) ** 2) / 2 / rng.uniform(0.5, 1.5) ** 2)
            taps /= taps.sum()
            pixels = f.conv2d(f.conv2d(pixels, taps[None, None, None], padding=(0, 4)),
                              taps[None, None, :, None], padding=(4, 0))  # fmt: skip
        if rng.random() < 0.2:
            pixels = pixels + t.randn_like(pixels) * rng.uniform(0, 0.1)
        return pixels, ids.to(t.int32)

    return change


def main() -> None:
    """Warm up, then work on every line."""
    folder = Path(sys.argv[2])
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    change = {"monai": monai, "albumentations": albumentations, "torch": torch}[sys.argv[1]]()

    def work() -> None:
        for number in range(COUNT):
            change(images[number % len(images)], labels[number % len(labels)])

    work()
    print("@{}", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        work()
        print("@" + json.dumps({"seconds": time.process_time() - start, "patches": COUNT}), flush=True)


if __name__ == "__main__":
    main()
