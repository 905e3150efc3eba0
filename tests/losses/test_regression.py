import numpy as np
import pytest
import torch
from scipy import ndimage

from morula.losses.regression import annotated_on_grid, gradient_l2, l1, l2, masked_mean, smooth_l1
from morula.planning.planner import read_recipe

PREDICTED = torch.tensor([[[[0.0, 1.0, 3.0, 100.0]]]])
TARGET = torch.tensor([[[[0.0, 0.0, 1.0, 0.0]]]])
KNOWN = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]])


@pytest.mark.parametrize(("loss", "expected"), [(l1, 1.0), (l2, 5 / 3), (smooth_l1, (0.95 + 1.95) / 3)])
def test_hand_computed(loss, expected):
    assert loss(PREDICTED, TARGET, KNOWN).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("loss", "expected"), [(l1, 6 / 4), (l2, 12 / 4)])
def test_the_mean_is_weighted(loss, expected):
    weight = torch.tensor([[[[1.0, 0.0, 3.0, 5.0]]]])
    assert loss(PREDICTED, TARGET, KNOWN, weight).item() == pytest.approx(expected, rel=1e-6)


def test_the_mean_of_nothing_is_zero():
    assert masked_mean(PREDICTED, torch.zeros_like(KNOWN)).item() == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradient_of_a_slope(ndim):
    shape = (9,) * ndim
    slopes = torch.from_numpy(np.indices(shape, dtype=np.float32))[None]
    inner = torch.zeros(1, 1, *shape)
    inner[(slice(None), slice(None), *[slice(2, -2)] * ndim)] = 1
    everywhere = torch.ones(1, 1, *shape)
    # Slopes of 3 per pixel against slopes of 1 per pixel, along every axis.
    assert gradient_l2(3 * slopes, slopes, everywhere, inner).item() == pytest.approx(4, rel=1e-4)
    assert gradient_l2(slopes + 7, slopes, everywhere, inner).item() == pytest.approx(0, abs=1e-8)


def test_gradient_kernel_is_that_of_the_text():
    # HoVer-Net's Sobel kernel, 5 wide: x / (x^2 + y^2), here scaled to answer 1 to a slope of 1.
    y, x = np.mgrid[-2:3, -2:3].astype(float)
    kernel = x / np.where(x**2 + y**2 == 0, 1, x**2 + y**2)
    kernel /= (kernel * x).sum()
    field = np.random.default_rng(0).normal(size=(8, 8))
    expected = ndimage.correlate(field, kernel, mode="constant")
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 1] = torch.from_numpy(field)
    loss = gradient_l2(maps, torch.zeros_like(maps), torch.ones(1, 1, 8, 8))
    assert loss.item() == pytest.approx((expected**2).mean() / 2, rel=1e-4)


def test_the_gradient_term_of_system_d_is_that_of_the_published_code():
    """There the kernel is not normalised and the weight is 1."""
    weight = read_recipe("hovernet-stpp")["representation"]["gradient_weight"]
    y, x = np.mgrid[-2:3, -2:3].astype(float)
    kernel = x / np.where(x**2 + y**2 == 0, 1, x**2 + y**2)
    maps = np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.float32)
    slopes = [ndimage.correlate(maps[0], kernel.T, mode="constant")]
    slopes += [ndimage.correlate(maps[1], kernel, mode="constant")]
    found = weight * gradient_l2(
        torch.from_numpy(maps)[None], torch.zeros(1, 2, 8, 8), torch.ones(1, 1, 8, 8)
    )
    assert found.item() == pytest.approx(np.square(slopes).mean(), rel=1e-4)


@pytest.mark.parametrize("size", [8, 7])
def test_a_coarse_pixel_is_annotated_when_all_of_its_block_is(size):
    annotated = torch.ones(1, 1, size, size)
    annotated[0, 0, 2, 5] = 0
    coarse = annotated_on_grid(annotated, torch.zeros(1, 3, 4, 4))
    expected = torch.ones(4, 4)
    expected[1, 2] = 0
    assert torch.equal(coarse[0, 0], expected)
