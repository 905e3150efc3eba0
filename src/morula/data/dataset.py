"""A data set on disk, and the images of a prediction."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from morula.data.formats import IMAGE_SUFFIXES, is_image_name, read_image, read_labels, stem_of
from morula.data.sample import Image, Sample
from morula.errors import InputError
from morula.types import Labels, Spacing

IMAGE_FOLDERS = ("images", "imgs", "image", "img")
"""Names of a folder of images."""

LABEL_FOLDERS = ("labels", "masks", "label", "mask")
"""Names of a folder of labels."""

LABEL_ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label")
"""What label files may add to the name of their image (NeurIPS CellSeg, Cellpose), the longest first."""

FOREIGN_SUFFIXES = tuple(
    """.avif .bif .btf .cr2 .czi .dcm .dng .dv .exr .flex .gif .heic .heif .ics .ims .j2k .jp2 .jpx .lif .lsm
    .mha .mhd .mrxs .mvd2 .nd2 .ndpi .nef .nrrd .oib .oif .oir .pbm .pgm .ppm .psd .qptiff .scn .stk .svs .tga
    .vms .vsi .webp .zvi""".split()  # noqa: SIM905 - a list would take forty lines
)
"""Suffixes of microscopes, scanners, cameras and pictures that are not read from a folder."""

RESULT_FOLDERS = ("labels", "overlays")
"""Names of the folders of label files and pictures that a prediction writes beside its ``run.json``."""

UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")
"""Names of a folder of images that have no labels on purpose."""

CHANNEL_FILE = re.compile(r"(.+)_(\d{4})")
"""Stem of a file that holds one channel, as nnU-Net names it: case and number of the channel."""

_PARTNERS = {"labelsTr": ("imagesTr",), "labelsTs": ("imagesTs",)}
"""Folders of labels, as nnU-Net names them, and those of their images."""

GROUP_COLUMNS = ("group", "patient", "field")
"""Index columns that say which samples belong together; the first one present counts."""


@dataclass(frozen=True)
class Dataset:
    """Samples in one folder, with what the user says about all of them; nothing is read until asked for."""

    root: Path
    """The folder."""

    samples: tuple[Sample, ...]
    """Sorted by id, labelled and unlabelled."""

    axes: str | None = None
    """Axes of every image's array, in place of what the files say."""

    channels: tuple[str, ...] | None = None
    """Channel names of every image, in place of what the files say."""

    spacing_um: Spacing | None = None
    """Pixel size of every image, in place of what the files say."""

    ignore_label: int | None = None
    """The stored label value that means "not annotated"."""

    task: Literal["instances", "semantic"] | None = None
    """What the labels mean: ids of objects, or classes (organs); None when nobody says."""

    classes: dict[str, int] = field(default_factory=dict)
    """Name of each class to its label; empty when they have no names."""

    tolerance_mm: dict[str, float] = field(default_factory=dict)
    """Name of a class to the distance that its surface may be off."""

    @property
    def labelled(self) -> tuple[Sample, ...]:
        """The samples with labels."""
        return tuple(sample for sample in self.samples if sample.labels)

    @property
    def unlabelled(self) -> tuple[Sample, ...]:
        """The samples without labels."""
        return tuple(sample for sample in self.samples if not sample.labels)

    @property
    def label_axes(self) -> str | None:
        """`axes` as they are in label files: without channels."""
        return self.axes.upper().translate({ord("C"): None, ord("S"): None}) if self.axes else None

    def image(self, sample: Sample) -> Image:
        """Read the image of `sample`.

        Raises:
            InputError: See `morula.data.formats.read_image`.
        """
        return read_image(sample.image, axes=self.axes, channels=self.channels, spacing_um=self.spacing_um)

    def labels(self, sample: Sample) -> Labels:
        """Read the labels ``(*spatial)`` of `sample`; pixels that are not annotated are -1.

        Raises:
            InputError: `sample` has no labels; or see `morula.data.formats.read_labels`.
        """
        if not sample.labels:
            msg = f"{sample.id} has no labels."
            raise InputError(msg)
        return read_labels(sample.labels, axes=self.label_axes, ignore_label=self.ignore_label)

    def select(self, where: Mapping[str, set[str]]) -> "Dataset":
        """The samples whose index columns have one of the given values.

        Args:
            where: Column to accepted values, all as text: ``{"modality": {"fluorescence"}, "fold": {"1"}}``;
                ``id``, ``fold`` and ``group`` are columns too.

        Raises:
            InputError: A column that no sample has.
        """
        known = {"id", "fold", "group"}.union(*(sample.attributes for sample in self.samples))
        for column in where:
            if column not in known:
                msg = f"the index has no column {column!r}. Known: {', '.join(sorted(known))}."
                raise InputError(msg)
        kept = tuple(
            sample
            for sample in self.samples
            if all(_column(sample, column) in values for column, values in where.items())
        )
        return replace(self, samples=kept)


def _column(sample: Sample, column: str) -> str:
    own = {"id": sample.id, "group": sample.group, "fold": "" if sample.fold is None else str(sample.fold)}
    return own[column] if column in own else sample.attributes.get(column, "")


def default_class_name(label: int) -> str:
    """What a class is called where the data give it no name."""
    return f"class {label}"


def images_below(folder: Path) -> list[Path]:
    """Image files at any depth below `folder`, sorted; hidden ones are passed over.

    A ``.zarr`` folder is one image. Links that lead back to a folder that they are in are not followed.

    Raises:
        InputError: A folder cannot be read, or a name is not UTF-8.
    """
    return [_printable(path) for path in _files_below(folder, is_image_name)]


def _files_below(folder: Path, wanted: Callable[[Path], bool], above: tuple[Path, ...] = ()) -> list[Path]:
    found: list[Path] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        msg = f"{folder} cannot be read: {error.strerror or error}. Give an existing folder."
        raise InputError(msg) from error
    inside = (*above, folder.resolve())
    for entry in entries:
        if entry.name.startswith("."):
            continue
        zarr = entry.name.lower().endswith(".zarr")
        if entry.is_dir() and not zarr:
            if entry.resolve() not in inside:
                found += _files_below(entry, wanted, inside)
        elif wanted(entry) and entry.is_dir() == zarr:
            found.append(entry)
    return found


def _printable(path: Path) -> Path:
    """Refuse a name that no table or report can hold.

    Raises:
        InputError: Names it as far as that can be done.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = str(path).encode(errors="backslashreplace").decode()
        msg = f"{name}: the name is not UTF-8 (it may come from an old archive). Rename the file or folder."
        raise InputError(msg) from None
    if any(ord(letter) < ord(" ") for letter in str(path)):
        msg = f"{str(path)!r}: the name holds a control character, such as a line break. Rename it."
        raise InputError(msg)
    return path


def id_of(path: Path, folder: Path) -> str:
    """The path below `folder` without its suffix, with ``/``."""
    return (path.relative_to(folder).parent / stem_of(path)).as_posix()


def find_images(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Images to predict.

    In a folder that is a data set (``images`` beside ``labels``, ``imagesTr`` beside ``labelsTr``, ``a.png``
    beside ``a_masks.tif``) only the images count, and results of an earlier prediction (a folder with
    ``run.json``) are passed over.

    Args:
        paths: Files and folders; folders are searched at any depth.

    Returns:
        ``(stem with its subfolder, path)``, sorted by stem. Where two roots hold the same stem, the root's
        name is put before it.

    Raises:
        InputError: A path does not exist, no image is found, or two files would have the same stem.
    """
    found: list[tuple[str, str, Path]] = []
    passed_over = 0
    for path in paths:
        if not path.exists():
            msg = f"{path} does not exist. Give image files or folders of images."
            raise InputError(msg)
        if path.is_dir() and not path.name.lower().endswith(".zarr"):
            every = images_below(path)
            names = {file.parent / stem_of(file) for file in every}
            files = [file for file in every if not (_passed_over(file, path) or _is_mask(file, names))]
            passed_over += len(every) - len(files)
            found += [(id_of(file, path), path.resolve().name, file) for file in files]
        else:
            found.append((stem_of(path), path.resolve().parent.name, _printable(path)))
    if not found:
        msg = f"no images in {', '.join(map(str, paths))}."
        if passed_over:
            msg += f" {passed_over} are labels, or lie in results of a prediction (a folder with run.json)."
        msg += "".join(f" {note}" for note in foreign_notes(paths))
        raise InputError(f"{msg} Known suffixes: {' '.join(sorted(IMAGE_SUFFIXES))}.")
    once = {path.resolve(): (stem, root, path) for stem, root, path in reversed(found)}.values()
    roots: dict[str, set[str]] = defaultdict(set)
    for stem, root, _ in once:
        roots[stem].add(root)
    named = sorted((f"{root}/{stem}" if len(roots[stem]) > 1 else stem, path) for stem, root, path in once)
    refuse_twins(named)
    return named


def refuse_twins(named: Iterable[tuple[str, Path]]) -> None:
    """Refuse two files of one id.

    Raises:
        InputError: Names both files.
    """
    seen: dict[str, Path] = {}
    for stem, path in named:
        if stem in seen:
            msg = f"{seen[stem]} and {path} have the same name {stem!r}. Rename or remove one of them."
            raise InputError(msg)
        seen[stem] = path


def foreign_notes(paths: Iterable[Path]) -> tuple[str, ...]:
    """What to tell of files in folders that look like images of kinds that cannot be read; empty: none do.

    Raises:
        InputError: A folder cannot be read.
    """
    folders = [path for path in paths if path.is_dir() and not path.name.lower().endswith(".zarr")]
    found = {file for folder in folders for file in _files_below(folder, _is_foreign)}
    if not found:
        return ()
    suffixes = ", ".join(sorted({file.suffix.lower() for file in found}))
    files = "1 file of another kind was" if len(found) == 1 else f"{len(found)} files of other kinds were"
    them = "it" if len(found) == 1 else "them"
    return (f"{files} passed over ({suffixes}); export {them} as OME-TIFF (volumes of a scanner: NIfTI).",)


def _is_foreign(path: Path) -> bool:
    return path.suffix.lower() in FOREIGN_SUFFIXES


def _is_mask(file: Path, names: set[Path]) -> bool:
    """Whether `file` is named as the labels of an image beside it; `names`: all images, without suffix."""
    stem = stem_of(file)
    return any(
        stem.endswith(ending) and file.parent / stem.removesuffix(ending) in names for ending in LABEL_ENDINGS
    )


def _passed_over(file: Path, root: Path) -> bool:
    for folder in file.relative_to(root).parents:
        whole = root / folder
        partners = IMAGE_FOLDERS if folder.name in LABEL_FOLDERS else _PARTNERS.get(folder.name, ())
        if any((whole.parent / name).is_dir() for name in partners):
            return True
        if folder.name and (whole / "run.json").exists():
            return True
    # The images of a folder that once received results count, the results do not.
    first = file.relative_to(root).parts[0]
    return first in RESULT_FOLDERS and (root / "run.json").exists()
