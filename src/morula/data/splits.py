"""Folds without leakage: samples of one group, and equal images, never span two folds."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from morula.data.files import write_text
from morula.data.sample import Sample
from morula.errors import InputError

Folds = tuple[tuple[str, ...], ...]
"""Sample ids of every validation fold."""


def tie(samples: Sequence[Sample], duplicates: Iterable[Sequence[str]]) -> tuple[Sample, ...]:
    """The samples with their groups joined where these share an image.

    Args:
        samples: With `group`.
        duplicates: Ids of samples whose images are equal, as `morula.data.check.Report` has them; ids of
            other samples are passed over.

    Returns:
        The samples in their order; joined groups bear the name that comes first in the alphabet.
    """
    group_of = {sample.id: sample.group or sample.id for sample in samples}
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while name in above:
            name = above[name]
        return name

    for ids in duplicates:
        names = sorted({top(group_of[id_]) for id_ in ids if id_ in group_of})
        above.update((name, names[0]) for name in names[1:])
    return tuple(replace(sample, group=top(group_of[sample.id])) for sample in samples)


def find_leaks(samples: Sequence[Sample]) -> dict[str, tuple[Sample, ...]]:
    """Groups that lie in several folds of the index: one sample per fold, by the group's name.

    A sample without a fold is trained on in every fold, so that it leaks into the fold of its group.
    """
    leaks = {}
    for name, members in _by_group(samples).items():
        first = {fold_name(sample): sample for sample in reversed(members)}
        if len(first) > 1:
            leaks[name] = tuple(first[fold] for fold in sorted(first))
    return leaks


def fold_name(sample: Sample) -> str:
    """``fold 0``, or ``no fold``."""
    return "no fold" if sample.fold is None else f"fold {sample.fold}"


def refuse_leaks(samples: Sequence[Sample]) -> None:
    """Refuse folds of the index that a group (see `tie`) spans.

    Raises:
        InputError: Names the first such group, and what to do.
    """
    leaks = find_leaks(samples)
    if not leaks:
        return
    name, members = next(iter(leaks.items()))
    places = ", ".join(f"{sample.id} in {fold_name(sample)}" for sample in members)
    more = f" {len(leaks) - 1} more groups do the same." if len(leaks) > 1 else ""
    msg = (
        f"the folds of the index leak: group {name!r} is torn apart ({places}).{more} Expected each"
        " field of view or patient, and images that are equal, in one fold, or scores would be too good. Mend"
        " the column 'fold' (morula check names all of them), or leave images out with --select."
    )
    raise InputError(msg)


def make_folds(samples: Sequence[Sample], n_folds: int, seed: int) -> Folds:
    """Share whole groups among `n_folds` validation folds, with a like mix of modalities in each.

    Groups are dealt in random order, the largest first, each to the fold with the fewest samples of its
    modality, then with the fewest samples at all.

    Args:
        samples: With `group` and perhaps the attribute ``modality``.
        n_folds: At least 2.
        seed: Equal seeds give equal folds, in whatever order the samples come.

    Returns:
        The sorted ids of each fold; together they are all samples, and no two share a group.

    Raises:
        InputError: Fewer groups than folds.
    """
    groups = _by_group(samples)
    if n_folds < 2 or len(groups) < n_folds:
        msg = (
            f"{len(groups)} groups of images (fields of view, patients, single images) cannot be shared among"
            f" {n_folds} folds; expected 2 folds or more and a group for each. Ask for fewer, or add images."
        )
        raise InputError(msg)
    folds: list[list[str]] = [[] for _ in range(n_folds)]
    counts: list[Counter[str]] = [Counter() for _ in range(n_folds)]
    for name in _dealing_order(groups, seed):
        members = groups[name]
        modality = _modality(members)
        fold = min(range(n_folds), key=lambda k: (counts[k][modality], len(folds[k]), k))
        folds[fold] += [sample.id for sample in members]
        counts[fold].update(sample.attributes.get("modality", "") for sample in members)
    if not all(folds):
        _fill_empty(folds, groups)
    return tuple(tuple(sorted(fold)) for fold in folds)


def holdout(samples: Sequence[Sample], share: float, seed: int) -> tuple[str, ...]:
    """The sorted ids of about `share` of the samples, whole groups, with a like mix of modalities.

    Raises:
        InputError: There are fewer than two groups, or `share` is not between 0 and 1.
    """
    groups = _by_group(samples)
    if len(groups) < 2 or not 0 < share < 1:
        msg = f"cannot hold out {share} of {len(groups)} groups; expected 0 < share < 1 and 2 groups or more."
        raise InputError(msg)
    counts = Counter(_modality(members) for members in groups.values() for _ in members)
    taken: Counter[str] = Counter()
    chosen: list[str] = []
    names = sorted(groups)
    order = np.random.default_rng(seed).permutation(len(names))
    for name in (names[index] for index in order):
        members = groups[name]
        modality = _modality(members)
        # A group is taken when that brings its modality nearer to what is wanted.
        if taken[modality] + len(members) / 2 <= share * counts[modality]:
            taken[modality] += len(members)
            chosen += [sample.id for sample in members]
    if not chosen:
        chosen = [sample.id for sample in groups[_dealing_order(groups, seed)[-1]]]
    return tuple(sorted(chosen))


def keep_labels(samples: Sequence[Sample], count: int, seed: int) -> tuple[Sample, ...]:
    """The samples, of which only `count` keep their labels: drawn at random, but evenly over the modalities.

    Raises:
        InputError: Fewer samples have labels.
    """
    labelled = [sample for sample in samples if sample.labels]
    if not 1 <= count <= len(labelled):
        msg = f"{count} labelled images are asked for, {len(labelled)} have sound labels. Ask for fewer."
        raise InputError(msg)
    order = np.random.default_rng(seed).permutation(len(labelled))
    shuffled = sorted((labelled[i] for i in order), key=lambda sample: sample.attributes.get("modality", ""))
    kept = {shuffled[place * len(shuffled) // count].id for place in range(count)}
    return tuple(sample if sample.id in kept else replace(sample, labels=()) for sample in samples)


def given_folds(samples: Sequence[Sample]) -> Folds | None:
    """The folds of the data set's index, in their order; None when it gives fewer than two.

    Samples without a fold are in none.
    """
    members: dict[int, list[str]] = defaultdict(list)
    for sample in samples:
        if sample.fold is not None:
            members[sample.fold].append(sample.id)
    return tuple(tuple(sorted(members[fold])) for fold in sorted(members)) if len(members) > 1 else None


def save(path: Path, folds: Folds) -> None:
    """Write the folds as JSON.

    Raises:
        InputError: It cannot be written.
    """
    text = json.dumps({"validation": [list(fold) for fold in folds]}, indent=1, ensure_ascii=False)
    write_text(path, text + "\n")


def load(path: Path) -> Folds:
    """Read what `save` wrote.

    Raises:
        InputError: It is missing or something else.
    """
    try:
        folds = json.loads(path.read_text(encoding="utf-8"))["validation"]
        return tuple(tuple(str(name) for name in fold) for fold in folds)
    except FileNotFoundError:
        msg = f"{path} does not exist."
        raise InputError(msg) from None
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} holds no folds ({error}); expected {{'validation': [[ids], ...]}}. Plan again."
        raise InputError(msg) from error


def _by_group(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.id):
        groups[sample.group or sample.id].append(sample)
    return groups


def _dealing_order(groups: dict[str, list[Sample]], seed: int) -> list[str]:
    """Names of the groups, the largest first, equal ones shuffled."""
    names = sorted(groups)
    order = np.random.default_rng(seed).permutation(len(names))
    return sorted((names[index] for index in order), key=lambda name: -len(groups[name]))


def _modality(members: list[Sample]) -> str:
    return Counter(sample.attributes.get("modality", "") for sample in members).most_common(1)[0][0]


def _fill_empty(folds: list[list[str]], groups: dict[str, list[Sample]]) -> None:
    """Give every empty fold the smallest group of the largest fold that holds two or more."""
    group_of = {sample.id: name for name, members in groups.items() for sample in members}
    for fold in folds:
        if fold:
            continue
        donor = max((other for other in folds if len({group_of[i] for i in other}) > 1), key=len)
        name = min({group_of[i] for i in donor}, key=lambda name: (len(groups[name]), name))
        moved = [sample.id for sample in groups[name]]
        fold += moved
        donor[:] = [i for i in donor if i not in moved]
