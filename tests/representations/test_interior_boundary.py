import numpy as np
import torch

from morula.representations.interior_boundary import InteriorBoundary
from morula.targets.weights import unet_weight_map


def spacing(labels):
    return (1.0,) * labels.ndim


def test_the_three_classes_of_the_text():
    """System A: background 0, interior 1, boundary 2; 2 px wide, but half of a small cell at most."""
    row = np.array([[0] * 2 + [1] * 9 + [2] * 9 + [0] * 2] * 9, np.int32)
    classes = InteriorBoundary(boundary_px=2.0).encode(np.pad(row, ((3, 3), (0, 0))), (1.0, 1.0))["classes"]
    assert classes.shape == (3, 15, 22)
    assert (classes.sum(0) == 1).all()
    middle = classes.argmax(0)[7].tolist()
    assert middle == [0, 0, 2, 2, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 1, 2, 2, 0, 0]
    small = np.zeros((5, 5), np.int32)
    small[1:4, 1:4] = 1
    assert InteriorBoundary(boundary_px=2.0).encode(small, (1.0, 1.0))["classes"].argmax(0)[2].tolist() == [
        0,
        2,
        1,
        2,
        0,
    ]


def test_small_components_are_removed_and_the_boundary_belongs_to_a_cell():
    labels = np.zeros((20, 30), np.int32)
    labels[4:16, 3:15] = 1
    labels[5:7, 22:24] = 2
    maps = InteriorBoundary().encode(labels, (1.0, 1.0))
    kept = InteriorBoundary(min_object_px=5).decode(maps, (1.0, 1.0))
    assert np.array_equal(kept > 0, labels == 1)
    bare = InteriorBoundary(min_object_px=5, grow=False).decode(maps, (1.0, 1.0))
    assert np.array_equal(bare > 0, (maps["classes"][1] > 0) & (labels == 1))


def test_growing_gives_the_boundary_back(labels):
    grown, bare = InteriorBoundary(), InteriorBoundary(grow=False)
    maps = grown.encode(labels, spacing(labels))
    full, cores = grown.decode(maps, spacing(labels)), bare.decode(maps, spacing(labels))
    assert full.max() == cores.max() == labels.max()
    np.testing.assert_array_equal(full > 0, labels > 0)
    np.testing.assert_array_equal(cores > 0, maps["classes"][1] > 0)


def test_the_weight_map_is_balanced_over_the_three_classes(labels):
    representation = InteriorBoundary(weight_map=True)
    classes = representation.encode(labels, spacing(labels))["classes"].argmax(0)
    weight = representation.image_maps(labels, spacing(labels))["weight"][0]
    np.testing.assert_array_equal(weight, unet_weight_map(labels, 10.0, 5.0, classes))
    # Far from every second instance only the balance is left: one over the share of the pixel's class.
    lone = np.where(labels == 1, 1, 0).astype(np.int32)
    classes = representation.encode(lone, spacing(labels))["classes"].argmax(0)
    weight = representation.image_maps(lone, spacing(labels))["weight"][0]
    np.testing.assert_allclose(weight, (classes.size / np.bincount(classes.ravel()))[classes], rtol=1e-6)
    assert not InteriorBoundary().image_maps(labels, spacing(labels))


def test_the_weight_map_is_on_the_dice_term_only(labels):
    representation = InteriorBoundary(weight_map=True)
    maps = representation.encode(labels, spacing(labels)) | representation.image_maps(labels, spacing(labels))
    targets = {name: torch.from_numpy(value)[None] for name, value in maps.items()}
    logits = {"classes": torch.randn(targets["classes"].shape, generator=torch.Generator().manual_seed(0))}
    annotated = torch.ones(1, 1, *labels.shape)
    weighted = representation.loss(logits, targets, annotated)
    plain = InteriorBoundary().loss(logits, targets, annotated)
    assert weighted["cross_entropy"] == plain["cross_entropy"]
    assert weighted["dice"] != plain["dice"]


def test_an_instance_of_boundary_only_is_kept():
    classes = np.zeros((3, 8, 8), np.float32)
    classes[0] = 1
    classes[:, 2:5, 2:5] = [[[0]], [[0]], [[1]]]
    decoded = InteriorBoundary().decode({"classes": classes}, (1.0, 1.0))
    assert (decoded > 0).sum() == 9
