import pytest
import torch

from morula.networks.blocks import depth_to_space, space_to_depth


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("factor", [2, 4])
def test_depth_to_space_undoes_space_to_depth(ndim, factor):
    x = torch.rand(2, 3, *[8] * ndim)
    folded = space_to_depth(x, factor)
    assert folded.shape == (2, 3 * factor**ndim, *[8 // factor] * ndim)
    assert torch.equal(depth_to_space(folded, factor), x)


def test_space_to_depth_by_hand():
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert space_to_depth(x, 2).flatten().tolist() == [0, 1, 2, 3]
