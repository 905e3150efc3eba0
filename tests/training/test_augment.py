from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morula.planning.plan import Augmentation
from morula.training.augment import (
    View,
    _bend_histogram,
    _coarsen,
    _compress,
    _emboss,
    change_intensity,
    cut,
    draw_view,
)
from synthetic import picture_of, touching_balls

STILL = Augmentation(
    flip=0, rotate=0, zoom_probability=0, elastic=0, intensity=0, gamma=0, blur=0, noise=0, per_object=0
)


def replace_in(spec: Augmentation, **changes) -> Augmentation:
    return spec.model_copy(update=changes)


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
    return np.broadcast_to(z, (1, 11, 8, 8)).astype(np.float16), np.broadcast_to(z, (11, 8, 8)).astype(
        np.int32
    )


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


def columns_of(**changes) -> np.ndarray:
    """The source's column under every pixel of a 20 x 20 patch around the middle of 40 x 40 pixels."""
    image = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 40, 40))
    patch, _ = cut((image,), np.zeros((40, 40), np.int32), replace(view((19.5, 19.5)), **changes), (20, 20))
    return patch[0]


def test_a_shear_shifts_every_row_against_the_one_before():
    y, x = np.arange(20) - 9.5, np.arange(20) - 9.5
    np.testing.assert_allclose(columns_of(shear=0.25), 19.5 + x + 0.25 * y[:, None], atol=1e-4)


def test_in_perspective_the_zoom_changes_over_the_patch():
    x = np.arange(20) - 9.5
    columns = columns_of(tilt=(0.0, 1 / 3))
    np.testing.assert_allclose(columns[4], 19.5 + x / (1 + x / 9.5 / 3), atol=1e-3)
    steps = np.diff(columns[4])
    # Twice as near at one end as at the other: its pixels are a quarter as far apart (area of the source).
    assert 3 < steps[0] / steps[-1] < 4.5


def test_a_piecewise_affine_change_is_linear_between_its_nodes():
    nodes = np.zeros((2, 2, 2), np.float32)
    nodes[1, :, 1] = 4
    x = np.arange(20)
    # Nodes lie in the middles of the patch's halves: columns 4.5 and 14.5.
    expected = 10 + x + 4 * np.clip((x - 4.5) / 10, 0, 1)
    np.testing.assert_allclose(columns_of(nodes=nodes)[7], expected, atol=1e-3)


def test_quarter_turns_are_drawn():
    spec = STILL.model_copy(update={"quarter_turn": 1.0})
    drawn = {draw_view((0.0, 0.0), spec, np.random.default_rng(seed)).angle for seed in range(30)}
    assert sorted(drawn) == pytest.approx([np.pi / 2, np.pi, 3 * np.pi / 2])


@pytest.mark.parametrize("ndim", [2, 3])
def test_maps_go_along_with_the_image(ndim):
    image, labels = source(ndim)
    spec = Augmentation(elastic=1, rotate=1, zoom_probability=1, shear=1, perspective=1, piecewise_affine=1)
    drawn = draw_view((19.0,) * ndim, spec, np.random.default_rng(1))
    both, _ = cut((image, 3 * image), labels, drawn, (16,) * ndim)
    assert both.shape == (2, *(16,) * ndim)
    np.testing.assert_allclose(both[1], 3 * both[0], rtol=1e-5)


def test_an_elastic_change_moves_by_its_grid():
    bend = np.zeros((2, 5, 5), np.float32)
    bend[1] = 3
    np.testing.assert_allclose(columns_of(bend=bend)[7], 13 + np.arange(20), atol=1e-3)
    bend[1, :, 3:] = 0
    steps = np.diff(columns_of(bend=bend)[7])
    assert steps.min() < 0.5
    # Smooth: a cubic swings a little beyond its nodes, lines between them would not.
    assert 1.05 < steps.max() < 1.3


CHANCES = [name for name, field in Augmentation.model_fields.items() if field.annotation is float]
NEVER = Augmentation(**dict.fromkeys(CHANCES, 0.0))
SPATIAL = {
    "flip": "flips",
    "quarter_turn": "angle",
    "rotate": "angle",
    "zoom_probability": "zoom",
    "elastic": "bend",
    "shear": "shear",
    "perspective": "tilt",
    "piecewise_affine": "nodes",
}
"""What each chance of a spatial change decides in a `View`."""

CONTENT = {"copy_paste", "conglomerates", "repaint"}
"""Chances of a change of what the patch shows."""

INTENSITY = [name for name in CHANCES if name not in SPATIAL and name not in CONTENT]
STRAIGHT = View((20.0, 20.0), (False, False), 0.0, 1.0)


def views(spec: Augmentation) -> list[View]:
    return [draw_view((20.0, 20.0), spec, np.random.default_rng(seed)) for seed in range(40)]


def test_without_chances_patches_are_cut_straight():
    assert views(NEVER) == [STRAIGHT] * 40


@pytest.mark.parametrize("name", SPATIAL)
def test_a_spatial_change_alone_changes_its_part_of_the_view_only(name: str):
    part = SPATIAL[name]
    for drawn in views(replace_in(NEVER, **{name: 1.0})):
        assert not np.array_equal(getattr(drawn, part), getattr(STRAIGHT, part))
        assert replace(drawn, **{part: getattr(STRAIGHT, part)}) == STRAIGHT


def drawn_once(name: str) -> np.ndarray:
    """What the spatial change `name` is in 40 patches that all have it."""
    drawn = [getattr(one, SPATIAL[name]) for one in views(replace_in(NEVER, **{name: 1.0}))]
    assert len(np.unique(np.reshape(drawn, (40, -1)), axis=0)) == 40
    return np.array(drawn)


@pytest.mark.parametrize(("name", "lowest", "highest"), [("rotate", -np.pi, np.pi), ("shear", -0.3, 0.3)])
def test_angles_and_shears_fill_their_range(name: str, lowest: float, highest: float):
    drawn = drawn_once(name)
    assert lowest <= drawn.min() < 0.8 * lowest
    assert 0.8 * highest < drawn.max() <= highest


def test_zooms_fill_their_range():
    drawn = drawn_once("zoom_probability")
    assert 0.5 <= drawn.min() < 0.6
    assert 1.7 < drawn.max() <= 2


def test_perspectives_are_at_most_twice_as_near_in_any_direction():
    tilts = drawn_once("perspective")
    # The corners are the nearest and the farthest points: (1 + t) / (1 - t) <= 2.
    corner = np.abs(tilts).sum(1)
    assert corner.max() <= 1 / 3 + 1e-6
    assert corner.max() > 0.25
    assert (np.abs(tilts).max(0) > 0.15).all()
    assert (tilts.min(0) < 0).all()
    assert (tilts.max(0) > 0).all()


@pytest.mark.parametrize("name", ["elastic", "piecewise_affine"])
def test_every_node_moves_by_some_pixels_either_way(name: str):
    grids = drawn_once(name)
    assert grids.shape == (40, 2, 5, 5)
    assert ((grids.std(0) > 1) & (grids.std(0) < 8)).all()
    assert (np.abs(grids.mean(0)) < 3).all()


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


@pytest.mark.parametrize("grey", [True, False])
def test_without_chances_intensities_stay(grey: bool):
    image, labels = source(2)
    image = np.concatenate([image, image, image] if grey else [image, image / 2, 1 - image])
    for seed in range(10):
        changed = change_intensity(image, labels, NEVER, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed, image)
        assert not np.shares_memory(changed, image)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", INTENSITY)
def test_an_intensity_change_alone_alters_the_image(name: str, ndim: int):
    grey, labels = source(ndim)
    # Only grey patches become one stain, and only channels that differ can be told from shuffled ones.
    image = np.concatenate([grey, grey, grey] if name == "pseudo_colour" else [grey, grey / 2, 1 - grey])
    altered = 0
    for seed in range(6):
        spec, rng = replace_in(NEVER, **{name: 1.0}), np.random.default_rng(seed)
        changed = change_intensity(image, labels, spec, rng)
        assert (changed.shape, changed.dtype) == (image.shape, np.float32)
        assert np.isfinite(changed).all()
        altered += not np.array_equal(changed, image)
    # One of the six orders of three channels is the one they have.
    assert altered >= (3 if name == "shuffle" else 6)


def changes(name: str, image: np.ndarray) -> list[np.ndarray]:
    """`image` ``(C, y, x)`` after `name` alone, drawn 20 times."""
    labels, spec = np.zeros(image.shape[1:], np.int32), replace_in(NEVER, **{name: 1.0})
    return [change_intensity(image, labels, spec, np.random.default_rng(seed)) for seed in range(20)]


def test_histograms_get_one_bend():
    image = np.linspace(0, 1, 33, dtype=np.float32).reshape(1, 3, 11)
    middles = []
    for changed in changes("histogram", image):
        values = changed.ravel()
        middles.append(values[16])
        expected = np.interp(np.arange(33), [0, 16, 32], [0, values[16], 1])
        np.testing.assert_allclose(values, expected, atol=1e-5)
    assert 0 <= min(middles) < 0.3
    assert 0.7 < max(middles) <= 1


def test_low_resolution_loses_the_finest_detail():
    rng = np.random.default_rng(0)
    image = rng.random((1, 64, 64), dtype=np.float32)
    kept = [np.corrcoef(changed.ravel(), image.ravel())[0, 1] for changed in changes("low_resolution", image)]
    # At half the resolution a quarter of the pixels says something.
    assert 0.2 < min(kept) < 0.7
    assert max(kept) > 0.7
    flat = np.full((1, 16, 16), 0.5, np.float32)
    for changed in changes("low_resolution", flat):
        np.testing.assert_allclose(changed, flat, atol=1e-6)


def test_a_relief_lights_one_side_of_a_spot():
    image = np.zeros((1, 9, 9), np.float32)
    image[0, 4, 4] = 1
    lit = []
    for changed in changes("emboss", image):
        relief = (changed - image)[0]
        # What one slope gains, the opposite one loses; only direct neighbours see the spot.
        np.testing.assert_allclose(relief, -relief[::-1, ::-1], atol=1e-6)
        assert not np.delete(relief, [3, 4, 5], 0).any()
        assert not np.delete(relief, [3, 4, 5], 1).any()
        lit.append(relief[3, 3])
    assert 0 <= min(lit) < 0.3
    assert 1 < max(lit) <= 2


def test_compressed_intensities_are_those_of_8_bits():
    image = source(2)[0]
    for changed in changes("compression", image):
        levels = (changed + 0.25) * 255 / 1.5
        np.testing.assert_allclose(levels, levels.round(), atol=1e-3)


def test_brightness_and_contrast_are_one_line_for_the_whole_image():
    image, labels = source(2)
    chances = STILL.model_copy(update={"intensity": 1.0})
    seen = []
    for seed in range(40):
        changed = change_intensity(image, labels, chances, np.random.default_rng(seed))
        slope, offset = np.polyfit(image.ravel(), changed.ravel(), 1)
        np.testing.assert_allclose(changed, slope * image + offset, atol=1e-4)
        seen.append((slope, offset))
    slopes, offsets = np.transpose(seen)
    assert 0.5 <= slopes.min() < 0.7
    assert 1.3 < slopes.max() <= 1.5
    assert -0.15 <= offsets.min() < -0.1
    assert 0.1 < offsets.max() <= 0.15


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


def test_faint_patches_keep_a_part_of_the_range():
    image, labels = source(2)
    image = (image - image.min()) / np.ptp(image)
    spans = []
    for seed in range(40):
        spec = STILL.model_copy(update={"faint": 1.0})
        changed = change_intensity(image, labels, spec, np.random.default_rng(seed))
        gain, offset = np.polyfit(image.ravel(), changed.ravel(), 1)
        np.testing.assert_allclose(changed, gain * image + offset, atol=1e-5)
        assert changed.min() >= -1e-5
        assert changed.max() <= 1 + 1e-5
        spans.append(gain)
    assert 0.15 <= min(spans) < 0.3
    assert 0.8 < max(spans) <= 1


def test_pseudo_colour_keeps_a_grey_patch_in_some_channels_only():
    image, labels = np.repeat(source(2)[0], 3, axis=0), source(2)[1]
    spec = STILL.model_copy(update={"pseudo_colour": 1.0})
    kept, empty = set(), 0
    for seed in range(40):
        changed = change_intensity(image, labels, spec, np.random.default_rng(seed))
        same = tuple(np.array_equal(a, b) for a, b in zip(image, changed, strict=True))
        assert any(same)
        assert not all(same)
        assert np.isfinite(changed).all()
        kept.add(same)
        empty += sum(not channel.any() for channel in changed)
    assert len(kept) == 6
    assert 15 < empty < 45


def test_pseudo_colour_leaves_colours_and_single_channels_alone():
    spec = STILL.model_copy(update={"pseudo_colour": 1.0})
    grey, labels = source(2)
    colour = np.concatenate([grey, grey * 0.5, grey])
    for image in (grey, colour):
        np.testing.assert_array_equal(change_intensity(image, labels, spec, np.random.default_rng(0)), image)


def test_calmed_changes_are_rarer_and_geometry_without_harm_stays():
    spec = Augmentation(zoom=(0.5, 2.0), rotate=0.6, colour=0.3, copy_paste=0.2)
    calm = spec.calmed(0.5)
    assert (calm.flip, calm.rotate, calm.zoom) == (0.5, 0.6, (0.5, 2.0))
    ranges = {"zoom", "zoom_to_px", "gamma_range", "blur_px", "noise_range"}
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


def test_the_bend_of_a_histogram_by_hand():
    image = np.array([[[2.0, 3.0, 4.0, 5.0, 6.0]]], np.float32)
    np.testing.assert_allclose(_bend_histogram(image, 0.2)[0, 0], [2, 2.4, 2.8, 4.4, 6], rtol=1e-6)
    np.testing.assert_allclose(_bend_histogram(image, 0.5), image, rtol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_low_resolution_keeps_what_is_smooth_and_loses_detail(ndim):
    axes = np.indices((24,) * ndim).astype(np.float32)
    inside = (slice(None), *[slice(4, -4)] * ndim)
    ramp = axes.sum(0)[None]
    # Nearest pixels are half a pixel off on average, and cubic splines swing a little.
    np.testing.assert_allclose(_coarsen(ramp, 0.5)[inside], ramp[inside], atol=0.7 * ndim)
    np.testing.assert_allclose(_coarsen(ramp, 1.0), ramp, atol=1e-4)
    checkered = (axes.sum(0) % 2)[None]
    assert np.ptp(_coarsen(checkered, 0.5)) < 1e-5
    assert _coarsen(np.concatenate([ramp, ramp]), 0.7).shape == (2, *(24,) * ndim)


def test_a_relief_by_hand():
    image = np.zeros((1, 5, 5), np.float32)
    image[0, 2, 2] = 1
    relief = _emboss(image, 1.0, 1.0)[0, 1:4, 1:4]
    np.testing.assert_array_equal(relief, [[2, 1, 0], [1, 1, -1], [0, -1, -2]])
    np.testing.assert_allclose(_emboss(image, 0.0, 1.0), image)
    np.testing.assert_allclose(_emboss(np.ones_like(image), 0.7, 0.9), 1, rtol=1e-5)


def test_dropped_pixels_are_few_and_the_same_in_all_channels():
    spec = STILL.model_copy(update={"pixel_dropout": 1.0})
    labels = np.zeros((64, 64), np.int32)
    shares = []
    for seed in range(8):
        changed = change_intensity(
            np.ones((3, 64, 64), np.float32), labels, spec, np.random.default_rng(seed)
        )
        assert set(np.unique(changed)) <= {0, 1}
        assert (changed == changed[:1]).all()
        shares.append((changed == 0).mean())
    assert 0 < max(shares) < 0.06


def test_ranges_are_those_of_the_plan():
    image = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(1, 64, 64)
    labels, rng = np.zeros((64, 64), np.int32), np.random.default_rng(0)
    squared = STILL.model_copy(update={"gamma": 1.0, "gamma_range": (2.0, 2.0)})
    np.testing.assert_allclose(change_intensity(image, labels, squared, rng), image**2, atol=1e-6)
    noisy = STILL.model_copy(update={"noise": 1.0, "noise_range": (0.25, 0.25)})
    assert (change_intensity(image, labels, noisy, rng) - image).std() == pytest.approx(0.25, rel=0.05)
    spot = np.zeros((1, 31, 31), np.float32)
    spot[0, 15, 15] = 1
    blurred = STILL.model_copy(update={"blur": 1.0, "blur_px": (2.0, 2.0)})
    found = change_intensity(spot, np.zeros((31, 31), np.int32), blurred, rng)[0]
    assert found[15, 15] == pytest.approx(1 / (2 * np.pi * 4), rel=0.02)


@pytest.mark.parametrize("diameter_px", [7.0, 40.0, 100.0])
def test_zooms_bring_objects_of_any_size_into_the_range(diameter_px):
    spec = replace_in(STILL, zoom_to_px=(10.0, 60.0), zoom_probability=1.0)
    rng = np.random.default_rng(0)
    sizes = [draw_view((0.0, 0.0), spec, rng, diameter_px).zoom * diameter_px for _ in range(64)]
    assert 10 <= min(sizes) < 15
    assert 40 < max(sizes) <= 60
    assert draw_view((0.0, 0.0), spec, rng).zoom <= 2  # no object: the range of `zoom` holds


def test_shading_is_smooth_and_alike_in_all_channels():
    image = np.ones((2, 64, 64), np.float32)
    shaded = change_intensity(
        image, np.zeros((64, 64), np.int32), replace_in(STILL, uneven=1.0), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(shaded[0], shaded[1])
    assert np.ptp(shaded) > 0.2
    assert np.abs(np.diff(shaded[0], axis=0)).max() < 0.1


@pytest.mark.parametrize("ndim", [2, 3])
def test_compression_is_coarser_the_lower_the_quality(ndim):
    image, _ = source(ndim)
    image = image / image.max()
    errors = [np.abs(_compress(image, quality) - image).mean() for quality in (20, 90)]
    assert 0 < errors[1] < errors[0] < 0.1
    assert _compress(np.full((1, 16, 16), 3.0, np.float32), 90).max() == pytest.approx(1.25, abs=0.01)


def test_per_object_factors_leave_the_background():
    image, labels = source(2)
    spec = STILL.model_copy(update={"per_object": 1.0})
    changed = change_intensity(image, labels, spec, np.random.default_rng(0))
    background = labels == 0
    np.testing.assert_array_equal(changed[0][background], image[0][background])
    ratio = changed[0][labels == 1] / image[0][labels == 1]
    assert np.ptp(ratio) < 1e-3
    assert abs(ratio.mean() - 1) > 1e-3
