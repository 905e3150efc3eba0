"""Which files make up each image to segment: as a rule one, or one per channel in nnU-Net's naming."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from morula.data.dataset import CHANNEL_FILE, find_images, refuse_twins
from morula.data.formats import read_image, stem_of
from morula.data.sample import RGB
from morula.errors import InputError


@dataclass(frozen=True)
class Input:
    """One image to segment."""

    id: str
    """Stem with its subfolder."""

    files: tuple[Path, ...]
    """One file, or one per channel."""

    warning: str = ""
    """What the files' names leave open."""


def find_inputs(
    images: Sequence[Path] | Mapping[str, Path],
    needed: tuple[str, ...],
    *,
    channels: tuple[str, ...] | None = None,
    axes: str | None = None,
) -> tuple[Input, ...]:
    """The images in files and folders, sorted by id.

    Where several channels are needed, exactly as many files ``a_0000``, ``a_0001``, ... of one channel each,
    in one folder, are joined to the image ``a``. A model of red, green and blue takes grey images, too, each
    a file of its own: there files are joined only when `channels` names the three.

    Args:
        images: Files and folders, or files by their ids, which are taken one by one.
        needed: Channels of the model.
        channels: Names of the images' channels, if they are given.
        axes: Letters of the stored axes, where files do not say.

    Raises:
        InputError: See `morula.data.dataset.find_images`.
    """
    if isinstance(images, Mapping):
        return tuple(Input(id_, (path,)) for id_, path in sorted(images.items()))
    found = find_images(images)
    groups = _numbered(found, len(channels or needed))
    if not _hold_one_channel(groups, axes):
        groups = {}
    if channels is None and needed == RGB:
        warnings = {paths[0]: _doubt(paths) for paths in groups.values()}
        return tuple(Input(id_, (path,), warnings.get(path, "")) for id_, path in found)
    joined = {path for paths in groups.values() for path in paths}
    inputs = [Input(id_, (path,)) for id_, path in found if path not in joined]
    inputs += [Input(id_, paths) for id_, paths in groups.items()]
    refuse_twins((each.id, each.files[0]) for each in inputs)
    return tuple(sorted(inputs, key=lambda each: each.id))


def _numbered(found: Sequence[tuple[str, Path]], count: int) -> dict[str, tuple[Path, ...]]:
    """Files of one folder, kind and name, numbered 0 to `count` - 1, by what their ids have in common."""
    cases: dict[tuple[Path, str, str], dict[int, tuple[str, Path]]] = defaultdict(dict)
    for id_, path in found:
        stem = stem_of(path)
        match = CHANNEL_FILE.fullmatch(stem)
        if match and count > 1:
            cases[path.parent, match[1], path.name.removeprefix(stem)][int(match[2])] = id_, path
    return {
        files[0][0][: -len("_0000")]: tuple(files[number][1] for number in range(count))
        for files in cases.values()
        if sorted(files) == list(range(count))
    }


def _hold_one_channel(groups: Mapping[str, tuple[Path, ...]], axes: str | None) -> bool:
    """Whether the first file that can be read has one channel; no more are read, for the sake of time."""
    for first, *_ in groups.values():
        try:
            return len(read_image(first, axes=axes).channels) == 1
        except InputError:
            continue
    return False


def _doubt(paths: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in paths[1:])
    return (
        f"{paths[0]}, {names} were taken for images of their own. If they are the channels of one, say"
        f" --channels {','.join(RGB)}; if not, --channels grey ends this warning."
    )
