import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morula.data.sample import Image
from morula.errors import InputError
from morula.planning.plan import Inference, Plan, Scaling, Training
from morula.preprocessing.geometry import (
    coarse_axis,
    interpolation_matrix,
    resample,
    resample_cubic,
    select_channels,
    working_shape,
)

RGB = ("red", "green", "blue")


def plan_with(scaling: Scaling, ndim: int = 2) -> Plan:
    patch = (64,) * ndim
    return Plan.model_validate(
        {
            "ndim": ndim,
            "channels": ("grey",),
            "halo_px": (8,) * ndim,
            "scaling": scaling,
            "representation": {"kind": "hover"},
            "network": {"kind": "residual_unet"},
            "training": Training(patch_size=patch),
            "inference": Inference(tile_size=patch),
        }
    )


def image_of(names: tuple[str, ...]) -> Image:
    return Image(np.arange(len(names) * 6, dtype=np.uint8).reshape(len(names), 2, 3), names)


class TestSelectChannels:
    def test_same_names_copy_nothing(self):
        image = image_of(RGB)
        assert select_channels(image, RGB) is image.pixels

    def test_picked_by_name(self):
        image = image_of(("dapi", "actin", "tubulin"))
        np.testing.assert_array_equal(select_channels(image, ("tubulin", "dapi")), image.pixels[[2, 0]])

    def test_grey_fills_rgb_without_a_copy(self):
        image = image_of(("grey",))
        chosen = select_channels(image, RGB)
        np.testing.assert_array_equal(chosen, np.repeat(image.pixels, 3, 0))
        assert np.shares_memory(chosen, image.pixels)

    def test_alpha_is_dropped(self):
        image = image_of((*RGB, "alpha"))
        np.testing.assert_array_equal(select_channels(image, RGB), image.pixels[:3])

    def test_equal_colours_are_grey(self):
        pixels = np.repeat(np.arange(6, dtype=np.uint8).reshape(1, 2, 3), 3, 0)
        assert select_channels(Image(pixels, RGB), ("grey",)).shape == (1, 2, 3)

    def test_single_channel_by_any_name(self):
        assert select_channels(image_of(("channel 0",)), ("dapi",)).shape == (1, 2, 3)

    @pytest.mark.parametrize(
        ("names", "wanted"),
        [(RGB, ("grey",)), (("dapi",), ("dapi", "actin")), (("a", "b"), RGB), (("x", "x"), ("y", "z"))],
    )
    def test_nothing_is_guessed(self, names, wanted):
        with pytest.raises(
            InputError, match=f"{', '.join(names)}; the model needs {', '.join(wanted)}.*--channels"
        ):
            select_channels(image_of(names), wanted)


class TestWorkingShape:
    def test_native(self):
        plan = plan_with(Scaling(factor=0.5, diameter_px=20))
        assert working_shape((100, 61), plan, None, None) == (50, 30)
        assert working_shape((1, 1), plan) == (1, 1)

    def test_diameter_decides(self):
        plan = plan_with(Scaling(factor=0.5, diameter_px=20))
        assert working_shape((100, 60), plan, None, 40.0) == (50, 30)
        assert working_shape((100, 60), plan, (0.3, 0.3), 10.0) == (200, 120)

    def test_spacing(self):
        plan = plan_with(Scaling(kind="spacing", spacing_um=(2.0, 0.5, 0.5), diameter_px=20), 3)
        assert working_shape((10, 100, 100), plan, (4.0, 0.25, 0.5)) == (20, 50, 100)
        # With a diameter, the spacing says only how the axes relate.
        assert working_shape((10, 100, 100), plan, (4.0, 1.0, 1.0), 20.0) == (10, 100, 100)
        assert working_shape((10, 100, 100), plan, None, 40.0) == (5, 50, 50)

    def test_unknown_spacing_is_not_guessed(self):
        plan = plan_with(Scaling(kind="spacing", spacing_um=(0.5, 0.5), diameter_px=20))
        with pytest.raises(InputError, match=r"--pixel-size.*--diameter"):
            working_shape((10, 10), plan, None)

    def test_bad_arguments(self):
        plan = plan_with(Scaling(kind="spacing", spacing_um=(0.5, 0.5), diameter_px=20))
        with pytest.raises(InputError, match=r"3 spatial axes .* the model 2"):
            working_shape((10, 10, 10), plan, None)
        with pytest.raises(InputError, match="2 numbers, one per axis"):
            working_shape((10, 10), plan, (1.0, 1.0, 1.0))
        with pytest.raises(InputError, match="must be positive"):
            working_shape((10, 10), plan, (1.0, 1.0), 0.0)
        with pytest.raises(InputError, match=r"needs scaling\.spacing_um"):
            working_shape((10, 10), plan_with(Scaling(kind="spacing", diameter_px=20)), (1.0, 1.0))


class TestResample:
    def test_same_shape_is_the_same_array(self):
        pixels = np.zeros((1, 4, 5), np.float32)
        assert resample(pixels, (4, 5)) is pixels

    @pytest.mark.parametrize(("shape", "how"), [((20, 31), cv2.INTER_AREA), ((80, 131), cv2.INTER_LINEAR)])
    def test_agrees_with_opencv(self, shape, how):
        pixels = np.random.default_rng(0).random((2, 40, 60)).astype(np.float32)
        expected = [cv2.resize(channel, shape[::-1], interpolation=how) for channel in pixels]
        np.testing.assert_allclose(resample(pixels, shape), expected, atol=1e-5)

    def test_halving_averages_by_hand(self):
        pixels = np.array([[[0, 2, 4, 6], [2, 4, 6, 8]]], np.float32)
        assert resample(pixels, (1, 2)).tolist() == [[[2.0, 6.0]]]
        volume = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
        assert resample(volume, (1, 1, 1)).tolist() == [[[[3.5]]]]

    @given(st.integers(2, 3), st.integers(0, 100), st.data())
    def test_keeps_constants_and_mean_of_a_ramp(self, ndim, seed, data):
        rng = np.random.default_rng(seed)
        old = tuple(int(size) for size in rng.integers(1, 30, ndim))
        new = tuple(data.draw(st.integers(1, 40)) for _ in range(ndim))
        np.testing.assert_allclose(resample(np.full((2, *old), 3.5, np.float32), new), 3.5, rtol=1e-5)
        ramp = np.broadcast_to(np.arange(old[-1], dtype=np.float32), (1, *old))
        assert resample(ramp, new).mean() == pytest.approx((old[-1] - 1) / 2, abs=1e-3)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_mirror_symmetry(self, axis):
        volume = np.random.default_rng(0).random((2, 12, 15, 9)).astype(np.float32)
        flipped = resample(np.flip(volume, axis + 1), (7, 20, 9))
        np.testing.assert_allclose(flipped, np.flip(resample(volume, (7, 20, 9)), axis + 1), atol=1e-5)

    def test_there_and_back(self):
        y, x = np.mgrid[:40, :50]
        smooth = np.sin(y / 8 + x / 9)[None].astype(np.float32)
        np.testing.assert_allclose(resample(resample(smooth, (80, 100)), (40, 50)), smooth, atol=0.05)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
    def test_dtypes(self, dtype):
        pixels = np.arange(24).reshape(1, 4, 6).astype(dtype)
        assert resample(pixels, (8, 3)).dtype == dtype
        assert resample(pixels.astype(np.int32), (8, 3)).dtype == np.float32
        assert resample(pixels > 3, (2, 3)).dtype == np.float32

    def test_the_image_is_left_alone(self):
        pixels = np.random.default_rng(0).random((1, 9, 9)).astype(np.float32)
        before = pixels.copy()
        resample(pixels, (5, 14))
        np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("shape", [(17, 13, 29), (6, 40, 17), (12, 20, 17)])
def test_cubic_resampling_is_that_of_skimage(shape: tuple[int, ...]) -> None:
    from skimage.transform import resize

    pixels = np.random.default_rng(0).normal(size=(1, 12, 20, 17)).astype(np.float32)
    expected = resize(pixels[0].astype(float), shape, 3, mode="edge", anti_aliasing=False, clip=False)
    np.testing.assert_allclose(resample_cubic(pixels, shape, None)[0], expected, atol=1e-5)


def test_planes_far_apart_are_taken_whole() -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 4, 10, 12)).astype(np.float32)
    resampled = resample_cubic(pixels, (8, 20, 24), 0)
    planes = resample_cubic(pixels.reshape(8, 10, 12), (20, 24), None).reshape(2, 4, 20, 24)
    np.testing.assert_allclose(resampled, planes.repeat(2, axis=1), atol=1e-5)


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((7.7, 1.25, 1.25), 0), ((3.0, 1.0, 1.0), None), ((1.0, 1.0, 4.0), 2), ((5.0, 5.0, 1.0), None)],
)
def test_the_coarse_axis_is_more_than_three_times_as_long(
    spacing: tuple[float, ...], axis: int | None
) -> None:
    assert coarse_axis(spacing) == axis


@pytest.mark.parametrize(("old", "new"), [(5, 9), (9, 5), (4, 4), (1, 3)])
def test_interpolation_keeps_constants(old: int, new: int) -> None:
    for order in (0, 1, 3):
        np.testing.assert_allclose(interpolation_matrix(old, new, order).sum(1), 1, atol=1e-5)


def test_interpolation_of_a_slide_is_sparse() -> None:
    matrix = interpolation_matrix(100_000, 25_000, 1)
    assert matrix.shape == (25_000, 100_000)
    assert matrix.nnz <= 2 * 25_000
