"""StarDist's own package at work for `time_to_accuracy.py`, in an environment of its own.

``python stardist_worker.py FOLDER STEPS EVERY``. FOLDER holds ``train.npz``, ``validation.npz`` and
``test.npz``: in each ``image_0``, ``labels_0``, ... Its defaults (grid 2 x 2, 32 rays, batches of 4 patches
of 256 x 256, rate 3e-4) and the augmentation of its example notebook: flips, quarter turns, intensity.
Every EVERY steps it tunes its thresholds on the validation images with its own function and writes
``STEPS.npz``, the objects that it finds in the test images. For each there is a line in ``looks.jsonl``:
steps, seconds of processor time and of the clock, both of training alone, and the thresholds.
"""

import json
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from stardist.models import Config2D, StarDist2D

THREADS = int(os.environ["OMP_NUM_THREADS"])

RNG = np.random.default_rng(0)

Images = list[np.ndarray]


def read(path: Path) -> tuple[Images, Images]:
    """Normalised images and label images."""
    arrays = np.load(path)
    count = len(arrays.files) // 2
    images = [normalize(arrays[f"image_{i}"].astype(np.float32), 1, 99.8) for i in range(count)]
    return images, [arrays[f"labels_{i}"] for i in range(count)]


def augment(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flip, turn, and change the intensity, as StarDist's example does."""
    turns = RNG.integers(4)
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    for axis in range(2):
        if RNG.random() < 0.5:
            image, labels = np.flip(image, axis), np.flip(labels, axis)
    return image * RNG.uniform(0.6, 2) + RNG.uniform(-0.2, 0.2), labels


class Look(keras.callbacks.Callback):
    """Predicts the test images after every epoch; the time that this takes does not count."""

    def __init__(self, folder: Path, stardist: StarDist2D, every: int) -> None:
        super().__init__()
        self.folder, self.stardist, self.every = folder, stardist, every
        self.validation, self.test = read(folder / "validation.npz"), read(folder / "test.npz")
        self.seconds = {"cpu_seconds": 0.0, "seconds": 0.0}

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Start the clock; before the first epoch it also runs while the network is compiled."""
        self.started = time.process_time(), time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Stop the clock, look, and report."""
        self.seconds["cpu_seconds"] += time.process_time() - self.started[0]
        self.seconds["seconds"] += time.perf_counter() - self.started[1]
        steps = (epoch + 1) * self.every
        thresholds = self.stardist.optimize_thresholds(*self.validation)
        found = [self.stardist.predict_instances(image)[0] for image in self.test[0]]
        np.savez_compressed(self.folder / f"{steps}.npz", *[labels.astype(np.int32) for labels in found])
        with (self.folder / "looks.jsonl").open("a") as file:
            file.write(json.dumps({"steps": steps, **self.seconds, **thresholds}) + "\n")


def main() -> None:
    """Train."""
    folder, steps, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    # Its patience is 40 epochs of 100 steps.
    patience = {"factor": 0.5, "patience": max(1, 4000 // every), "min_delta": 0}
    config = Config2D(
        grid=(2, 2), n_channel_in=1, n_rays=32, train_tensorboard=False, train_reduce_lr=patience
    )
    model = StarDist2D(config, name="stardist", basedir=str(folder))
    model.prepare_for_training()
    look = Look(folder, model, every)
    model.callbacks.append(look)
    model.train(
        *read(folder / "train.npz"),
        validation_data=look.validation,
        augmenter=augment,
        seed=0,
        epochs=steps // every,
        steps_per_epoch=every,
    )


if __name__ == "__main__":
    main()
