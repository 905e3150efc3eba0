import pytest
import torch

from morula.networks.blocks import CONVOLVE, Heads, InstanceNorm, depth_to_space, on_pixels, space_to_depth
from morula.representations import Head


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


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("factor", [2, 4])
def test_a_kernel_on_pixels_does_the_same_as_on_folded_ones(ndim: int, factor: int):
    image = torch.rand(1, 2, *[4 * factor] * ndim, dtype=torch.float64)
    weight = torch.rand(5, 2 * factor**ndim, *[3] * ndim, dtype=torch.float64)
    folded = CONVOLVE[ndim](space_to_depth(image, factor), weight, padding=1)
    found = CONVOLVE[ndim](image, on_pixels(weight, factor), stride=factor, padding=factor)
    torch.testing.assert_close(found, folded)


@pytest.mark.parametrize("ndim", [2, 3])
def test_heads_give_the_same_in_training_and_after(ndim: int):
    heads = (Head("a", 1, "sigmoid"), Head("b", 2, "identity", stride=2), Head("c", 3, "softmax", stride=4))
    module = Heads(ndim, 6, heads, grid=2)
    x = torch.rand(2, 6, *[4] * ndim)
    expected = module.train()(x)
    found = module.eval()(x)
    for name, logits in expected.items():
        torch.testing.assert_close(found[name], logits)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ndim", [2, 3])
def test_instance_norm_is_that_of_torch(ndim: int, training: bool):
    torch.manual_seed(0)
    theirs = {2: torch.nn.InstanceNorm2d, 3: torch.nn.InstanceNorm3d}[ndim](5, affine=True).train(training)
    ours = InstanceNorm(5).train(training)
    torch.nn.init.normal_(theirs.weight)
    torch.nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    results = []
    for module in (theirs, ours):
        x = torch.randn(3, 5, *[6] * ndim, generator=torch.Generator().manual_seed(1))
        x = (3 * x + 2).to(memory_format=layout).requires_grad_()
        y = module(x)
        (y**3).sum().backward()
        results.append((y, x.grad, *(parameter.grad for parameter in module.parameters())))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)
    if training:
        assert results[1][0].is_contiguous(memory_format=layout)
