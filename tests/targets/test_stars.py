import numpy as np
import pytest

from morula.errors import InputError
from morula.targets.stars import star_directions, star_distances
from synthetic import touching_balls


def distances_by_walking(
    labels: np.ndarray, directions: np.ndarray, spacing: tuple[float, ...]
) -> np.ndarray:
    distances = np.zeros((len(directions), *labels.shape))
    for ray, direction in enumerate(directions.astype(float)):
        step = direction / np.array(spacing)
        length = 1 / np.abs(step).max()
        for start in np.argwhere(labels > 0):
            count = 1
            while True:
                offset = count * step * length
                pixel = start + (np.ceil(np.abs(offset) - 0.5 - 1e-6) * np.sign(offset)).astype(int)
                if (pixel < 0).any() or (pixel >= labels.shape).any():
                    break
                if labels[tuple(pixel)] != labels[tuple(start)]:
                    break
                count += 1
            distances[(ray, *start)] = (count - 0.5) * length
    return distances


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (0.5, 0.25, 0.5)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_star_distances_by_walking(ndim, spacing):
    labels = touching_balls(ndim, 20, 4)
    labels[: 20 // 2, :3] = 77  # cut by the image's edge
    directions = star_directions(ndim, 16)
    actual = star_distances(labels, directions, spacing[-ndim:])
    np.testing.assert_allclose(actual, distances_by_walking(labels, directions, spacing[-ndim:]), rtol=1e-5)


def test_star_distances_of_a_disc_are_its_chords():
    y, x = np.mgrid[:61, :61] - 30
    disc = (np.hypot(y, x) <= 25).astype(np.int32)
    at_centre = star_distances(disc, star_directions(2, 32), (1.0, 1.0))[:, 30, 30]
    assert np.abs(at_centre - 25).max() < 0.8


def test_an_instance_that_fills_the_image_ends_at_its_edge():
    full = np.ones((5, 9), np.int32)
    right, up = star_directions(2, 4)[[0, 3]]
    assert star_distances(full, right[None], (1.0, 1.0))[0, 2].tolist() == [8.5 - x for x in range(9)]
    assert star_distances(full, up[None], (1.0, 1.0))[0, :, 4].tolist() == [0.5 + y for y in range(5)]


def test_a_grid_point_holds_the_weighted_mean_of_its_block():
    labels = np.array([[1, 1, 1, 0]] * 2, np.int32)
    weights = np.array([[1, 3, 1, 9]] * 2, np.float32)
    right = np.array([[0, 1]], np.float32)
    plain = star_distances(labels, right, (1.0, 1.0), stride=2)
    weighted = star_distances(labels, right, (1.0, 1.0), 2, weights)
    np.testing.assert_allclose(plain, [[[2.0, 0.5]]])
    np.testing.assert_allclose(weighted, [[[(2.5 + 3 * 1.5) / 4, 0.5]]])


@pytest.mark.parametrize(("ndim", "rays"), [(2, 4), (2, 32), (2, 12), (3, 8), (3, 64), (3, 96)])
def test_directions_are_unit_vectors_that_mirror_onto_themselves(ndim, rays):
    directions = star_directions(ndim, rays)
    assert directions.shape == (rays, ndim)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    cosine = directions @ directions.T - 2 * np.eye(rays)
    assert cosine.max() < 1 - 1e-4, "two rays are one"
    for axis in range(ndim):
        mirrored = directions * np.where(np.arange(ndim) == axis, -1, 1)
        assert (mirrored @ directions.T).max(1).min() > 1 - 1e-6


@pytest.mark.parametrize(("ndim", "rays"), [(2, 30), (3, 36), (2, 0)])
def test_a_number_of_rays_that_cannot_be_mirrored_is_refused(ndim, rays):
    with pytest.raises(
        InputError, match=f"{rays} rays in {ndim}D; expected a positive multiple of {2**ndim}"
    ):
        star_directions(ndim, rays)
