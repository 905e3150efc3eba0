from dataclasses import replace

import numpy as np
import pytest
import torch

from morula.planning.machine import usable_cores
from morula.preprocessing.prepare import Prepared
from morula.training.batches import Patches, loader_threads, stream
from training.small import AUGMENTED, prepared, small_plan


def test_a_batch_has_the_shapes_of_the_plan(tmp_path):
    plan = small_plan()
    batch = Patches(plan, prepared(tmp_path)).batch(0)
    assert batch.image.shape == (2, 1, 32, 32)
    assert batch.annotated.shape == (2, 1, 32, 32)
    assert {name: tuple(t.shape) for name, t in batch.targets.items()} == {
        "borders.nuclei": (2, 1, 32, 32),
        "borders.shrunk": (2, 1, 32, 32),
        "borders.borders": (2, 1, 32, 32),
        "distance.distance": (2, 1, 32, 32),
    }


def test_maps_on_a_coarser_grid_are_trimmed_on_that_grid(tmp_path):
    plan = small_plan().model_copy(update={"halo_px": (7, 7)})
    star = type(plan).model_validate(
        {**plan.model_dump(), "representation": {"kind": "star_convex", "stride": 2}}
    )
    batch = Patches(star, prepared(tmp_path)).batch(0)
    assert batch.image.shape[2:] == (32, 32)
    assert {tuple(t.shape[2:]) for t in batch.targets.values()} == {(16, 16)}


def test_a_patch_depends_on_seed_step_and_index_alone(tmp_path):
    samples = prepared(tmp_path)
    plan = small_plan(augmentation=AUGMENTED)
    first = Patches(plan, samples)
    first.batch(3)
    again = Patches(plan, samples).batch(7)
    assert torch.equal(first.batch(7).image, again.image)
    assert not torch.equal(first.batch(6).image, again.image)


def test_the_last_steps_are_calmed(tmp_path):
    samples = prepared(tmp_path)
    settings = {"steps": 10, "calm_factor": 0.25}
    changing = Patches(small_plan(augmentation=AUGMENTED, calm_share=0.4, **settings), samples)
    lively = Patches(small_plan(augmentation=AUGMENTED, calm_share=0.0, **settings), samples)
    calm = Patches(small_plan(augmentation=AUGMENTED.calmed(0.25), calm_share=0.0, **settings), samples)
    for step in range(10):
        expected = lively if step < 6 else calm
        assert torch.equal(changing.batch(step).image, expected.batch(step).image), step
    assert any(not torch.equal(lively.batch(step).image, calm.batch(step).image) for step in range(6, 10))


@pytest.mark.parametrize("loaders", [1, 3])
def test_the_stream_gives_every_step_once_in_order(tmp_path, loaders):
    samples = prepared(tmp_path)
    streamed = list(stream(Patches(small_plan(), samples), 2, 9, ahead=3, loaders=loaders))
    patches = Patches(small_plan(), samples)
    assert len(streamed) == 7
    for step, batch in enumerate(streamed, start=2):
        assert torch.equal(batch.image, patches.batch(step).image)


def test_a_network_on_the_cpu_leaves_one_core_to_the_batches_a_gpu_all_but_one():
    assert loader_threads("cpu") == 1
    assert loader_threads("cuda:0") == max(1, usable_cores() - 1)


def test_rare_modalities_are_seen_more_often_than_their_share(tmp_path):
    samples = prepared(tmp_path, count=3)
    crowd = [*[samples[0]] * 15, samples[1]]
    patches = Patches(small_plan(), crowd)
    rare = next(i for i, group in enumerate(patches._by_modality) if len(group) == 1)
    assert np.isclose(patches._weights[rare], 1 / (1 + np.sqrt(15)))


@pytest.mark.parametrize("copy_paste", [0.0, 1.0])
def test_a_weight_map_lies_where_the_labels_lie(tmp_path, copy_paste):
    """It is turned, zoomed, bent and pasted along with them."""
    samples = []
    for sample in prepared(tmp_path):
        weight = np.where(np.load(sample.labels) > 0, 4, 1).astype(np.float32)[None]
        np.save(tmp_path / f"{sample.id}.npy", weight)
        samples.append(replace(sample, maps={"weight": tmp_path / f"{sample.id}.npy"}))
    changes = {"elastic": 1.0, "shear": 1.0, "perspective": 1.0, "copy_paste": copy_paste}
    plan = small_plan(augmentation=changes, calm_share=0.0)
    table = {**plan.model_dump(), "representation": {"kind": "interior_boundary", "weight_map": True}}
    patches = Patches(type(plan).model_validate(table), samples)
    for step in range(4):
        targets = patches.batch(step).targets
        assert targets["weight"].shape == (2, 1, 32, 32)
        foreground = 1 - targets["classes"][:, :1]
        assert ((targets["weight"] > 2.5) == (foreground > 0)).float().mean() > 0.97
        assert targets["weight"].min() >= 1
        assert targets["weight"].max() <= 4


def lone_objects(folder) -> tuple[Prepared, ...]:
    """Two images with one small disc each, at different places in much room."""
    samples = []
    for name, middle in (("a", 20), ("b", 28)):
        (folder / name).mkdir()
        y, x = np.indices((48, 48))
        labels = (np.hypot(y - middle, x - 24) < 4).astype(np.int32)
        np.save(folder / name / "image.npy", labels[None].astype(np.float16))
        np.save(folder / name / "labels.npy", labels)
        paths = folder / name / "image.npy", folder / name / "labels.npy"
        samples.append(Prepared(name, *paths, {}, "", 8.0))
    return tuple(samples)


@pytest.mark.parametrize("name", ["copy_paste", "conglomerates"])
def test_patches_get_objects_of_other_patches(tmp_path, name):
    samples = lone_objects(tmp_path)
    still = {field: 0.0 for field, value in AUGMENTED if isinstance(value, float)}
    plans = [small_plan(augmentation={**still, name: chance}, calm_share=0.0) for chance in (0.0, 1.0)]
    plain, mixed = (Patches(plan, samples) for plan in plans)
    more = 0
    for index in range(20):
        _, _, before = plain.draw(0, index)
        image, _, after = mixed.draw(0, index)
        assert set(np.unique(before)) <= {0, 1}
        more += len(np.unique(after)) > len(np.unique(before))
        # Pixels between those of the source: an outline may be off by one.
        assert ((image[0] > 0.5) == (after > 0)).mean() > 0.99
        if name == "conglomerates":
            np.testing.assert_array_equal(after[before > 0], before[before > 0])
    assert more >= 5


def test_patches_are_painted_anew_as_often_as_the_plan_says(tmp_path):
    samples = prepared(tmp_path)
    still = {field: 0.0 for field, value in AUGMENTED if isinstance(value, float)}
    plans = [small_plan(augmentation={**still, "repaint": chance}, calm_share=0.0) for chance in (0.0, 0.3)]
    plain, painted = (Patches(plan, samples) for plan in plans)
    changed = 0
    for index in range(100):
        (before, _, labels), (after, _, same) = plain.draw(0, index), painted.draw(0, index)
        np.testing.assert_array_equal(labels, same)
        changed += not np.array_equal(before, after)
    assert 15 <= changed <= 45


def rare_organ(folder) -> tuple[Prepared, ...]:
    """Two volumes: one with a tiny organ in a corner (and a large one), one without any."""
    samples = []
    for name in ("with", "without"):
        (folder / name).mkdir()
        labels = np.zeros((40, 40, 40), np.int32)
        if name == "with":
            labels[:2, :2, :2], labels[10:30, 10:30, 10:30] = 1, 2
        np.save(folder / name / "image.npy", labels[None].astype(np.float16))
        np.save(folder / name / "labels.npy", labels)
        paths = folder / name / "image.npy", folder / name / "labels.npy"
        samples.append(Prepared(name, *paths, {}, "", 10.0))
    return tuple(samples)


def test_a_third_of_every_batch_is_sure_to_show_a_class(tmp_path):
    plan = small_plan(3, batch_size=4, patch_size=(8, 8, 8), object_share=1 / 3)
    table = plan.model_dump() | {
        "task": "semantic",
        "representation": {"kind": "class_distance", "ids": (1, 2)},
        "halo_px": (2, 2, 2),
    }
    patches = Patches(type(plan).model_validate(table), rare_organ(tmp_path))
    seen = []
    for step in range(25):
        classes = patches.batch(step).targets["classes"]
        present = classes[:, 1:].flatten(2).amax(2) > 0
        assert present[:2].any(1).all()
        seen.append(present[:2].any(0))
    # Classes are drawn alike, however large they are.
    assert torch.stack(seen).float().mean(0).min() > 0.5
