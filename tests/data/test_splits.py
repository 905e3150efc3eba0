"""Folds without leakage."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morula.data.sample import Sample
from morula.data.splits import (
    find_leaks,
    given_folds,
    holdout,
    keep_labels,
    load,
    make_folds,
    refuse_leaks,
    save,
    tie,
)
from morula.errors import InputError


def sample(index: int, group: str = "", modality: str = "", fold: int | None = None) -> Sample:
    return Sample(f"{index:03d}", (Path("a"),), (), group, fold, {"modality": modality} if modality else {})


GROUPS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("ab")), min_size=8, max_size=30)
"""Size and modality of groups."""


def grouped(groups: list[tuple[int, str]]) -> list[Sample]:
    members = [(name, modality) for name, (size, modality) in enumerate(groups) for _ in range(size)]
    return [sample(index, f"g{name}", modality) for index, (name, modality) in enumerate(members)]


@given(GROUPS, st.integers(2, 5), st.integers(0, 9))
def test_folds_share_all_samples_and_no_group(groups: list[tuple[int, str]], n: int, seed: int) -> None:
    samples = grouped(groups)
    folds = make_folds(samples, n, seed)
    assert sorted(name for fold in folds for name in fold) == [each.id for each in samples]
    assert all(folds)
    group_of = {each.id: each.group for each in samples}
    homes = [{group_of[name] for name in fold} for fold in folds]
    assert sum(len(home) for home in homes) == len(set(group_of.values()))
    assert make_folds(samples[::-1], n, seed) == folds


@given(GROUPS, st.floats(0.1, 0.6), st.integers(0, 9))
def test_a_holdout_is_whole_groups(groups: list[tuple[int, str]], share: float, seed: int) -> None:
    samples = grouped(groups)
    held = set(holdout(samples, share, seed))
    assert 0 < len(held) < len(samples)
    for group in {each.group for each in samples}:
        assert len({each.id in held for each in samples if each.group == group}) == 1


@given(GROUPS, st.lists(st.lists(st.integers(0, 40), max_size=4), max_size=8), st.integers(0, 9))
def test_samples_with_equal_images_never_span_two_folds(
    groups: list[tuple[int, str]], pairs: list[list[int]], seed: int
) -> None:
    samples = grouped(groups)
    duplicates = [[f"{index:03d}" for index in pair] for pair in pairs]
    tied = tie(samples, duplicates)
    assert [each.id for each in tied] == [each.id for each in samples]
    new, old = ({each.id: each.group for each in some} for some in (tied, samples))
    for ids in [*duplicates, *([a, b] for a in old for b in old if old[a] == old[b])]:
        assert len({new[name] for name in ids if name in new}) <= 1
    # Nothing is joined without need: by each set of equal images no more groups vanish than it can join.
    lost = len(set(old.values())) - len(set(new.values()))
    assert lost <= sum(max(0, len(set(ids) & set(old)) - 1) for ids in duplicates)
    held = set(holdout(tied, 0.3, seed)) if len(set(new.values())) > 1 else set()
    assert all(len({name in held for name in ids if name in new}) <= 1 for ids in duplicates)


def test_joined_groups_bear_the_first_name() -> None:
    samples = [sample(0, "b"), sample(1, "c"), sample(2, "a"), sample(3)]
    tied = tie(samples, [("000", "001"), ("001", "002", "gone")])
    assert [each.group for each in tied] == ["a", "a", "a", "003"]


def test_given_folds_that_leak_are_refused() -> None:
    samples = [sample(0, "a", fold=0), sample(1, "b", fold=1), sample(2, "c", fold=1), sample(3, "c", fold=1)]
    refuse_leaks(samples)
    message = r"group 'a' is torn apart \(000 in fold 0, 002 in fold 1\)\. Expected .*--select\.$"
    with pytest.raises(InputError, match=message):
        refuse_leaks(tie(samples, [("000", "002")]))
    loose = [sample(0, "a", fold=0), sample(1, "a"), sample(2, "d", fold=0), sample(3, "d", fold=1)]
    assert find_leaks(loose) == {"a": (loose[0], loose[1]), "d": (loose[2], loose[3])}
    with pytest.raises(InputError, match=r"001 in no fold\)\. 1 more groups"):
        refuse_leaks(loose)


def test_folds_have_a_like_mix_of_modalities() -> None:
    samples = [sample(index, "", "rare" if index < 20 else "common") for index in range(100)]
    folds = make_folds(samples, 5, 0)
    assert [Counter(int(name) < 20 for name in fold) for fold in folds] == [Counter({False: 16, True: 4})] * 5
    held = holdout(samples, 0.1, 0)
    assert Counter(int(name) < 20 for name in held) == Counter({False: 8, True: 2})


def test_the_seed_decides() -> None:
    samples = [sample(index) for index in range(40)]
    assert make_folds(samples, 4, 0) == make_folds(samples, 4, 0)
    assert make_folds(samples, 4, 0) != make_folds(samples, 4, 1)
    assert holdout(samples, 0.2, 0) != holdout(samples, 0.2, 1)


def test_too_few_groups_are_refused() -> None:
    samples = [sample(index, "same") for index in range(9)]
    with pytest.raises(InputError, match=r"1 groups of images .* 2 folds"):
        make_folds(samples, 2, 0)
    with pytest.raises(InputError, match="cannot hold out"):
        holdout(samples, 0.2, 0)
    with pytest.raises(InputError, match="0 < share < 1"):
        holdout([sample(0), sample(1)], 1.0, 0)
    with pytest.raises(InputError, match="2 folds or more"):
        make_folds([sample(0), sample(1)], 1, 0)


def test_given_folds_are_kept() -> None:
    samples = [sample(index, fold=fold) for index, fold in enumerate([0, 2, None, 0])]
    assert given_folds(samples) == (("000", "003"), ("001",))
    assert given_folds(samples[2:]) is None


def test_saved_folds_come_back(tmp_path: Path) -> None:
    folds = (("a", "b/ü"), ("c",))
    save(tmp_path / "run" / "splits.json", folds)
    assert load(tmp_path / "run" / "splits.json") == folds


def test_bad_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "splits.json")
    for text in ("{", "[]", '{"folds": []}', '{"validation": 3}'):
        (tmp_path / "splits.json").write_text(text)
        with pytest.raises(InputError, match="holds no folds"):
            load(tmp_path / "splits.json")


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 30), st.integers(0, 9))
def test_some_labels_are_kept_evenly_over_the_modalities(kinds: list[str], wanted: int, seed: int) -> None:
    samples = [replace(sample(i, modality=kind), labels=(Path("l"),)) for i, kind in enumerate(kinds)]
    count = min(wanted, len(samples))
    kept = keep_labels(samples, count, seed)
    assert [each.id for each in kept] == [each.id for each in samples]
    labelled = Counter(each.attributes["modality"] for each in kept if each.labels)
    assert labelled.total() == count
    for kind, number in Counter(kinds).items():
        assert abs(labelled[kind] - count * number / len(kinds)) < 1
    assert keep_labels(samples, count, seed) == kept


def test_which_labels_are_kept_is_drawn_by_the_seed() -> None:
    samples = [replace(sample(i), labels=(Path("l"),)) for i in range(40)] + [sample(40)]
    chosen = [{each.id for each in keep_labels(samples, 5, seed) if each.labels} for seed in range(3)]
    assert len({frozenset(ids) for ids in chosen}) == 3
    with pytest.raises(InputError, match="41 labelled images are asked for, 40 have"):
        keep_labels(samples, 41, 0)
