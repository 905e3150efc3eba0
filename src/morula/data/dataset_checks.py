"""What can be wrong with a data set as a whole, once every sample has been looked at."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from morula.data.dataset import UNLABELLED_FOLDERS
from morula.data.layouts import Survey
from morula.data.problems import Problem, problem
from morula.data.sample import Sample
from morula.data.splits import find_leaks, fold_name


@dataclass(frozen=True)
class Facts:
    """What the doctor found out about one sample."""

    sample: Sample
    """The sample."""

    problems: tuple[Problem, ...] = ()
    """What is wrong with its files."""

    pixels: str = ""
    """Digest of its pixels; empty when they cannot be read."""

    labels: str = ""
    """Digest of its labels; empty when there are none or they cannot be read."""

    ids: tuple[int, ...] = ()
    """The ids in its labels."""

    ndim: int = 0
    """Number of spatial axes."""

    channels: int = 0
    """Number of channels."""

    dtype: str = ""
    """Number type of the pixels."""

    sized: bool = False
    """Whether its pixel size is known."""


def check_dataset(found: Survey, facts: Sequence[Facts]) -> list[Problem]:
    """The problems that no single file shows: pairing, duplicates, leakage, mixtures."""
    readable = [fact for fact in facts if fact.pixels]
    return [
        *_pairing(found),
        *_index(found),
        *_duplicates(same_images(facts)),
        *_split_groups(found.dataset.labelled),
        *_mixtures(readable),
        *_classes(found, facts),
    ]


def _pairing(found: Survey) -> Iterable[Problem]:
    dataset = found.dataset
    for path in found.orphans:
        yield problem(
            "labels without image",
            path,
            f"{path} belongs to no image. Add the image, or rename or remove it.",
        )
    if not dataset.labelled:
        message = f"{dataset.root} holds images, but no labels for any of them. Training needs labels."
        yield problem("no labels at all", dataset.root, message)
        return
    for sample in dataset.unlabelled:
        path = sample.image[0]
        if not set(path.relative_to(dataset.root).parts) & set(UNLABELLED_FOLDERS):
            message = f"{path} has no labels. Add them, or move it to a folder 'unlabelled' if that is meant."
            yield problem("missing labels", path, message, sample.id)


def _index(found: Survey) -> Iterable[Problem]:
    if found.index is None:
        return
    ids = {sample.id for sample in found.dataset.samples}
    for name in sorted(found.rows - ids):
        message = f"{found.index} has a row for {name!r}, but no such image. Add it or remove the row."
        yield problem("index row without image", found.index, message)
    for sample in found.dataset.samples:
        if sample.id not in found.rows:
            path = sample.image[0]
            yield problem(
                "image without index row", path, f"{path} has no row in {found.index}. Add one.", sample.id
            )


def same_images(facts: Sequence[Facts]) -> list[list[Facts]]:
    """Samples whose images are equal, pixel by pixel; images that are one value everywhere do not count."""
    alike: dict[str, list[Facts]] = defaultdict(list)
    for fact in facts:
        if fact.pixels and not any(found.kind == "constant image" for found in fact.problems):
            alike[fact.pixels].append(fact)
    return [group for group in alike.values() if len(group) > 1]


def _duplicates(groups: Sequence[Sequence[Facts]]) -> Iterable[Problem]:
    """Images of equal content: in two folds they leak, in one they are counted twice."""
    for group in groups:
        first = group[0]
        for other in group[1:]:
            path, rival = other.sample.image[0], first.sample.image[0]
            labels = "" if first.labels == other.labels else ", but other labels"
            if _apart(first.sample, other.sample):
                message = (
                    f"{path} ({fold_name(other.sample)}) and {rival} ({fold_name(first.sample)}) are the same"
                    f" image{labels}: scores on these folds would be too good. Remove one."
                )
                yield problem("leakage between folds", path, message)
            else:
                message = f"{path} is the same image as {rival}{labels}. Remove one of them."
                yield problem("duplicated image", path, message, other.sample.id)


def _apart(one: Sample, other: Sample) -> bool:
    return bool(one.labels and other.labels) and one.fold != other.fold


def _split_groups(samples: Sequence[Sample]) -> Iterable[Problem]:
    """Groups (fields, patients) that the index puts into several folds."""
    for group, members in find_leaks(samples).items():
        places = ", ".join(f"{sample.image[0]} in {fold_name(sample)}" for sample in members)
        message = (
            f"group {group!r} is torn apart: {places}; scores on these folds would be too good."
            " Put the whole group into one fold."
        )
        yield problem("leakage between folds", members[-1].image[0], message)


def _classes(found: Survey, facts: Sequence[Facts]) -> Iterable[Problem]:
    """The same few ids in every image are classes (organs) rather than objects: the user must say."""
    every = [fact.ids for fact in facts if fact.labels]
    if found.dataset.task is None and len(every) >= 5 and len(set(every)) == 1 and 1 < len(every[0]) <= 30:
        message = (
            f"{found.dataset.root}: every image holds the ids {', '.join(map(str, every[0]))}, no more and no"
            ' less. They are taken for objects; if they are classes (organs), write task = "semantic" and'
            ' their names under [classes] into dataset.toml, else task = "instances".'
        )
        yield problem("classes or objects", found.dataset.root, message)


def _mixtures(facts: Sequence[Facts]) -> Iterable[Problem]:
    """Properties in which a few images differ from most."""
    remedies = {
        "mixed dimensions": (
            "number of dimensions",
            lambda fact: f"{fact.ndim}D",
            "Make two data sets of them.",
        ),
        "mixed channels": (
            "number of channels",
            lambda fact: str(fact.channels),
            "Export all with the same channels.",
        ),
        "mixed number types": ("number type", lambda fact: fact.dtype, "Export all with the same one."),
        "mixed pixel sizes": (
            "pixel size",
            lambda fact: "known" if fact.sized else "unknown",
            "Give the pixel size for all with 'spacing_um' in dataset.toml.",
        ),
    }
    for kind, (noun, value_of, remedy) in remedies.items():
        counts = Counter(value_of(fact) for fact in facts)
        if len(counts) < 2:
            continue
        rarest = counts.most_common()[-1][0]
        path: Path = next(fact.sample.image[0] for fact in facts if value_of(fact) == rarest)
        shares = ", ".join(f"{value} in {count}" for value, count in counts.most_common())
        yield problem(kind, path, f"not all images have the same {noun}: {shares} (such as {path}). {remedy}")
