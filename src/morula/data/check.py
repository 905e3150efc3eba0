"""The doctor: reads a whole data set once and names everything that is wrong with it."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from morula.data.dataset import Dataset
from morula.data.dataset_checks import Facts, check_dataset, same_images
from morula.data.formats import read_ids, read_labels, to_labels
from morula.data.image_checks import check_image
from morula.data.label_checks import check_labels, measure_labelling
from morula.data.layouts import survey
from morula.data.nifti import compare_places, is_nifti
from morula.data.problems import BadFileError, Problem, problem
from morula.data.sample import Image, Sample
from morula.types import Labels, PathLike, Spacing

Progress = Callable[[int, int], None]
"""Called with the number done and the total."""


@dataclass(frozen=True)
class Report:
    """Everything that is wrong with a data set."""

    problems: tuple[Problem, ...]
    """Those of the data set first, then by sample."""

    n_images: int
    """Samples with or without labels, readable or not."""

    n_labels: int
    """Samples with labels, readable or not."""

    duplicates: tuple[tuple[str, ...], ...]
    """Ids of the samples whose images are equal; `morula.data.splits.tie` keeps them together."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep a sample, or the data set, from being used."""
        return tuple(found for found in self.problems if found.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that somebody should look at."""
        return tuple(found for found in self.problems if found.severity == "warning")

    @property
    def unusable(self) -> frozenset[str]:
        """Ids of the samples that cannot be used."""
        return frozenset(found.sample for found in self.errors if found.sample)


def check(
    root: PathLike,
    *,
    axes: str | None = None,
    channels: tuple[str, ...] | None = None,
    spacing_um: Spacing | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read every image and every label file of a data set and name what is wrong.

    Args:
        root: Folder of the data set.
        axes: As for `morula.data.layouts.open_dataset`.
        channels: As above.
        spacing_um: As above.
        progress: Told after each sample; runs in the caller's thread.

    Raises:
        InputError: The folder is no data set at all.
    """
    found = survey(Path(root), axes=axes, channels=channels, spacing_um=spacing_um)
    samples = found.dataset.samples
    facts: dict[str, Facts] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(examine, found.dataset, sample) for sample in samples]
        for done, task in enumerate(as_completed(tasks), 1):
            facts[task.result().sample.id] = task.result()
            if progress is not None:
                progress(done, len(samples))
    ordered = [facts[sample.id] for sample in samples]
    problems = check_dataset(found, ordered) + [each for fact in ordered for each in fact.problems]
    duplicates = tuple(tuple(fact.sample.id for fact in group) for group in same_images(ordered))
    return Report(tuple(problems), len(samples), len(found.dataset.labelled), duplicates)


def examine(dataset: Dataset, sample: Sample) -> Facts:
    """Read one sample and say what is wrong with it; nothing is raised for a bad file."""
    problems: list[Problem] = []
    image: Image | None = None
    labels: Labels | None = None
    ids: tuple[int, ...] = ()
    try:
        image = dataset.image(sample)
        problems += check_image(image, sample.image[0], sample.id)
    except BadFileError as error:
        problems.append(problem(error.kind, sample.image[0], str(error), sample.id))
    if sample.labels:
        try:
            labels, ids, found = _examine_labels(dataset, sample)
            problems += found
        except BadFileError as error:
            problems.append(problem(error.kind, sample.labels[0], str(error), sample.id))
    if image is not None and labels is not None:
        problems += _compare_shapes(image, labels, sample) or _compare_places(sample)
    return Facts(
        sample,
        tuple(problems),
        pixels="" if image is None else _digest(image.pixels),
        labels="" if labels is None else _digest(labels),
        ids=ids,
        ndim=0 if image is None else image.ndim,
        channels=0 if image is None else len(image.channels),
        dtype="" if image is None else str(image.pixels.dtype),
        sized=image is not None and image.spacing_um is not None,
    )


def _examine_labels(dataset: Dataset, sample: Sample) -> tuple[Labels, tuple[int, ...], list[Problem]]:
    """Labels, the ids in them, and their problems."""
    path = sample.labels[0]
    axes = dataset.label_axes
    if len(sample.labels) > 1:
        labels = read_labels(sample.labels, axes=axes)
        stored = labels.dtype
        areas = sum(int(np.count_nonzero(read_ids(part, axes=axes))) for part in sample.labels)
        lost = areas - int(np.count_nonzero(labels))
    else:
        ids = read_ids(path, axes=axes)
        stored, lost = ids.dtype, 0
        labels = to_labels(ids, str(path), dataset.ignore_label)
    classes = dataset.classes.values() if dataset.task == "semantic" else None
    labelling = measure_labelling(path, stored, labels)
    problems = check_labels(labelling, sample.id, classes)
    if lost:
        message = (
            f"{path.parent}: masks overlap in {lost} pixels; there the last one counts, in the order of the"
            " names. Mend the masks if that matters."
        )
        problems.append(problem("overlapping masks", path.parent, message, sample.id))
    return labels, tuple(labelling.ids.tolist()), problems


def _compare_shapes(image: Image, labels: Labels, sample: Sample) -> list[Problem]:
    expected = image.pixels.shape[1:]
    if labels.shape == expected:
        return []
    turned = " They are turned by 90 degrees (drawn on a photograph that lay on its side?)."
    hint = turned if labels.shape[::-1] == expected else ""
    message = (
        f"{sample.labels[0]} has shape {labels.shape}, its image {sample.image[0]} has {expected}; expected"
        f" the same.{hint} Export the labels again on the grid of the image."
    )
    return [problem("wrong shape", sample.labels[0], message, sample.id)]


def _compare_places(sample: Sample) -> list[Problem]:
    """NIfTI files say where they lie in space; those of one sample should say the same."""
    files = [path for path in (*sample.image, *sample.labels) if is_nifti(path)]
    problems = []
    for path in files[1:]:
        found = compare_places(files[0], path)
        if found:
            message = (
                f"{path} does not lie where its image {files[0]} does, say their headers: {found}. They are"
                " laid over each other voxel by voxel. Look whether they fit so: if they do, copy the header;"
                " if not, resample the labels onto the grid of the image."
            )
            problems.append(problem("different places", path, message, sample.id))
    return problems


def _digest(pixels: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data.cast("B"))
    return digest.hexdigest()
