import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morula.planning.plan import Augmentation
from morula.training.augment import View, change_intensity, cut, draw_view, paste_objects
from synthetic import picture_of, touching_balls

STILL = Augmentation(
    flip=0, rotate=0, zoom_probability=0, elastic=0, intensity=0, gamma=0, blur=0, noise=0, per_object=0
)


def source(ndim: int) -> tuple[np.ndarray, np.ndarray]:
    labels = touching_balls(ndim, shape=40, radius=7)
    return picture_of(labels).astype(np.float32)[None] / 255, labels


def view(centre, flips=None, angle=0.0, zoom=1.0):
    return View(centre, flips or (False,) * len(centre), angle, zoom, None)


@pytest.mark.parametrize("ndim", [2, 3])
def test_no_change_is_a_plain_crop(ndim):
    image, labels = source(ndim)
    patch, ids = cut((image,), labels, view((19.5,) * ndim), (20,) * ndim)
    inside = (slice(10, 30),) * ndim
    np.testing.assert_array_equal(ids, labels[inside])
    np.testing.assert_allclose(patch, image[(slice(None), *inside)], atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_mirrors_image_and_labels_alike(axis):
    image, labels = source(3)
    flips = tuple(a == axis for a in range(3))
    patch, ids = cut((image,), labels, view((19.5,) * 3, flips), (20,) * 3)
    inside = (slice(10, 30),) * 3
    np.testing.assert_array_equal(ids, np.flip(labels[inside], axis))
    np.testing.assert_allclose(patch[0], np.flip(image[0][inside], axis), atol=1e-6)


def test_a_quarter_turn_is_exact():
    image, labels = source(2)
    _, ids = cut((image,), labels, view((19.5, 19.5), angle=np.pi / 2), (40, 40))
    assert np.array_equal(ids, np.rot90(labels, -1)) or np.array_equal(ids, np.rot90(labels, 1))


def test_zoom_enlarges_objects():
    image, labels = source(2)
    _, once = cut((image,), labels, view((19.5, 19.5)), (40, 40))
    _, twice = cut((image,), labels, view((19.5, 19.5), zoom=2.0), (80, 80))
    sizes = [np.bincount(ids.ravel())[1:] for ids in (once, twice)]
    np.testing.assert_allclose(sizes[1] / sizes[0], 4, rtol=0.15)


def ramp_of_planes() -> tuple[np.ndarray, np.ndarray]:
    """Eleven planes, each as bright as its number and with that id, from 0."""
    z = np.arange(11)[:, None, None]
    return np.broadcast_to(z, (1, 11, 8, 8)).astype(np.float16), np.broadcast_to(z, (11, 8, 8)).astype(np.int32)


def test_planes_between_planes_are_interpolated_and_labels_are_not():
    image, labels = ramp_of_planes()
    patch, ids = cut((image,), labels, view((5.0, 3.5, 3.5), zoom=2.0), (7, 4, 4))
    np.testing.assert_allclose(patch[0, :, 1, 1], [3.5, 4, 4.5, 5, 5.5, 6, 6.5])
    np.testing.assert_array_equal(ids[:, 1, 1], [4, 4, 5, 5, 6, 6, 7])
    shrunk, _ = cut((image,), labels, view((5.0, 3.5, 3.5), zoom=0.5), (3, 4, 4))
    np.testing.assert_allclose(shrunk[0, :, 1, 1], [3, 5, 7])


def test_without_a_zoom_every_plane_is_taken_once():
    image, labels = ramp_of_planes()
    for centre in (5.0, 5.2, 4.9):
        patch, ids = cut((image,), labels, view((centre, 3.5, 3.5)), (4, 4, 4))
        assert (np.diff(ids[:, 1, 1]) == 1).all()
        np.testing.assert_array_equal(patch[0], ids)
    patch, ids = cut((image,), labels, view((0.0, 3.5, 3.5)), (4, 4, 4))
    np.testing.assert_array_equal(ids[:, 1, 1], [2, 1, 1, 2])


def test_beyond_the_edge_the_source_is_mirrored():
    image, labels = source(2)
    patch, ids = cut((image,), labels, view((0.0, 19.5)), (20, 40))
    padded = np.pad(labels, ((10, 0), (0, 0)), mode="reflect")
    assert patch.shape == (1, 20, 40)
    # Row -9.5 is the first: half a pixel between rows, so neighbours decide.
    assert {*np.unique(ids)} <= {*np.unique(padded)}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    centre=st.tuples(st.floats(0, 39), st.floats(0, 39)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_any_view_gives_whole_finite_patches_with_known_ids(seed, centre, size):
    image, labels = source(2)
    augmentation = Augmentation(elastic=1.0, rotate=1.0, zoom=(0.25, 2.0), zoom_probability=1.0)
    drawn = draw_view(centre, augmentation, np.random.default_rng(seed))
    patch, ids = cut((image,), labels, drawn, size)
    assert patch.shape == (1, *size)
    assert ids.shape == size
    assert np.isfinite(patch).all()
    assert set(np.unique(ids)) <= set(np.unique(labels))


def test_not_annotated_stays_so():
    image, labels = source(2)
    patch_labels = np.where(labels == 1, -1, labels).astype(np.int32)
    _, ids = cut((image,), patch_labels, view((19.5, 19.5), angle=0.3), (40, 40))
    assert (ids == -1).any()


def test_without_chances_intensities_stay():
    image, labels = source(2)
    changed = change_intensity(image, labels, STILL, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, image)
    assert not np.shares_memory(changed, image)


def test_inversion_and_shuffle_by_hand():
    image = np.stack([np.zeros((4, 4)), np.ones((4, 4)), np.full((4, 4), 0.5)]).astype(np.float32)
    labels = np.zeros((4, 4), np.int32)
    inverted = change_intensity(
        image, labels, STILL.model_copy(update={"invert": 1.0}), np.random.default_rng(0)
    )
    np.testing.assert_allclose(inverted[:, 0, 0], [1, 0, 0.5])
    mixed = change_intensity(
        image, labels, STILL.model_copy(update={"shuffle": 1.0}), np.random.default_rng(0)
    )
    np.testing.assert_allclose(sorted(mixed[:, 0, 0]), [0, 0.5, 1])


def test_channels_change_each_on_its_own():
    image, labels = np.repeat(source(2)[0], 3, axis=0), source(2)[1]
    spec = STILL.model_copy(update={"colour": 1.0})
    changed = change_intensity(image, labels, spec, np.random.default_rng(0))
    assert changed.dtype == np.float32
    lines = [
        np.polyfit(before.ravel(), after.ravel(), 1) for before, after in zip(image, changed, strict=True)
    ]
    for (gain, offset), before, after in zip(lines, image, changed, strict=True):
        np.testing.assert_allclose(after, gain * before + offset, atol=1e-5)
        assert 0.7 <= gain <= 1.3
        assert -0.1 <= offset <= 0.1
    assert np.ptp([gain for gain, _ in lines]) > 0.01
    assert np.ptp([offset for _, offset in lines]) > 0.01


def test_calmed_changes_are_rarer_and_geometry_without_harm_stays():
    spec = Augmentation(zoom=(0.5, 2.0), rotate=0.6, colour=0.3, copy_paste=0.2)
    calm = spec.calmed(0.5)
    assert (calm.flip, calm.rotate, calm.zoom) == (0.5, 0.6, (0.5, 2.0))
    ranges = {"zoom", "gamma_range", "blur_px", "noise_range"}
    halved = set(Augmentation.model_fields) - {"flip", "quarter_turn", "rotate"} - ranges
    assert all(getattr(calm, name) == getattr(spec, name) for name in ranges)
    assert {name: getattr(calm, name) for name in halved} == {
        name: pytest.approx(getattr(spec, name) / 2) for name in halved
    }
    assert spec.calmed(1.0) == spec
    still = spec.calmed(0.0)
    image, labels = source(2)
    changed = change_intensity(image, labels, still, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, image)
    assert draw_view((20.0, 20.0), still, np.random.default_rng(0)).zoom == 1.0


def test_per_object_factors_leave_the_background():
    image, labels = source(2)
    spec = STILL.model_copy(update={"per_object": 1.0})
    changed = change_intensity(image, labels, spec, np.random.default_rng(0))
    background = labels == 0
    np.testing.assert_array_equal(changed[0][background], image[0][background])
    ratio = changed[0][labels == 1] / image[0][labels == 1]
    assert np.ptp(ratio) < 1e-3
    assert abs(ratio.mean() - 1) > 1e-3


def test_pasted_objects_get_ids_of_their_own():
    image, labels = source(2)
    other_image, other = np.full_like(image, 9.0), np.roll(labels, 5, axis=0)
    mixed, ids = paste_objects(image, labels, (other_image, other), np.random.default_rng(0), share=1.0)
    new = ids > labels.max()
    np.testing.assert_array_equal(new, other > 0)
    assert (mixed[0][new] == 9.0).all()
    np.testing.assert_array_equal(ids[~new], labels[~new])
