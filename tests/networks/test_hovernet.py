import pytest
import torch

from morula.networks import read_network
from morula.networks.hovernet import Bottleneck, Branch, DenseUnits
from morula.representations import Head

HEADS = (Head("foreground", 1, "sigmoid"), Head("offsets", 2, "identity", ((1.0, 0.0), (0.0, 1.0))))


def test_the_encoder_starts_on_the_images_grid_and_goes_8_times_down():
    with torch.device("meta"):
        network = read_network({"kind": "hovernet"}).build(2, 3, HEADS)
        levels = network.encoder(torch.empty(1, 3, 64, 64))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (256, 64, 64),
        (512, 32, 32),
        (1024, 16, 16),
        (2048, 8, 8),
    ]
    assert [len(stage.blocks) for stage in network.encoder.stages] == [3, 4, 6, 3]


def test_names_are_those_of_timm():
    with torch.device("meta"):
        encoder = read_network({"kind": "hovernet"}).build(2, 3, HEADS).encoder
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert shapes["stem.conv.weight"] == (64, 3, 7, 7)
    assert shapes["stages.0.blocks.0.norm1.weight"] == (64,)
    assert shapes["stages.0.blocks.0.downsample.conv.weight"] == (256, 64, 1, 1)
    assert shapes["stages.1.blocks.0.conv2.weight"] == (128, 128, 3, 3)
    assert shapes["stages.3.blocks.2.conv3.weight"] == (2048, 512, 1, 1)
    assert shapes["norm.running_mean"] == (2048,)
    assert not any("stages.1.blocks.1.downsample" in name for name in shapes)


def test_each_head_has_a_branch_with_dense_units():
    with torch.device("meta"):
        network = read_network({"kind": "hovernet"}).build(2, 3, HEADS)
    assert len(network.branches) == 2
    for branch in network.branches:
        assert [len(stage[1].units) for stage in (branch.u3, branch.u2)] == [8, 4]
        assert [stage[1].outputs for stage in (branch.u3, branch.u2)] == [512, 256]


def test_branches_share_nothing_but_the_encoder():
    network = read_network({"kind": "hovernet", "width": 0.05}).build(2, 1, HEADS)
    network(torch.rand(2, 1, 16, 16))[0]["foreground"].sum().backward()
    assert all(p.grad is not None for p in network.branches[0].parameters())
    assert all(p.grad is None for p in network.branches[1].parameters())
    assert all(p.grad is not None for p in network.encoder.parameters())


@pytest.mark.parametrize(("inputs", "stride"), [(16, 1), (8, 1), (16, 2)])
def test_a_pre_activated_block_by_hand(inputs: int, stride: int):
    torch.manual_seed(0)
    block = Bottleneck(2, inputs, 16, stride).eval()
    for norm in (block.norm1, block.norm2, block.norm3):
        torch.nn.init.uniform_(norm.running_mean, -1, 1)
        torch.nn.init.uniform_(norm.bias, -1, 1)
    x = torch.randn(1, inputs, 6, 6)

    def active(values: torch.Tensor, norm: torch.nn.BatchNorm2d) -> torch.Tensor:
        mean, offset = (v[None, :, None, None] for v in (norm.running_mean, norm.bias))
        return torch.relu((values - mean) / (1 + norm.eps) ** 0.5 + offset)

    with torch.no_grad():
        first = active(x, block.norm1)
        inner = torch.nn.functional.conv2d(first, block.conv1.weight)
        inner = torch.nn.functional.conv2d(active(inner, block.norm2), block.conv2.weight, None, stride, 1)
        inner = torch.nn.functional.conv2d(active(inner, block.norm3), block.conv3.weight)
        if inputs == 16 and stride == 1:
            # The input itself is added, before any norm: identity mapping.
            expected = inner + x
        else:
            # Where the shape changes, the pre-activated input is projected.
            expected = inner + torch.nn.functional.conv2d(first, block.downsample.conv.weight, None, stride)
        torch.testing.assert_close(block(x), expected)


def test_dense_units_keep_their_inputs_and_add_channels():
    units = DenseUnits(2, 8, 4, 2).eval()
    x = torch.rand(1, 8, 5, 5)
    with torch.no_grad():
        first = torch.cat([x, units.units[0](x)], 1)
        both = torch.cat([first, units.units[1](first)], 1)
        torch.testing.assert_close(units(x), units.end(both))
    assert units(x).shape == (1, 16, 5, 5)


def twice(x: torch.Tensor) -> torch.Tensor:
    """Every pixel repeated along each spatial axis."""
    for axis in range(2, x.ndim):
        x = x.repeat_interleave(2, axis)
    return x


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_branch_by_hand(ndim: int):
    torch.manual_seed(0)
    # Equal widths: nothing but the sizes tells the levels apart.
    branch = Branch(ndim, (8, 8, 8), 0.125, HEADS[1]).eval()
    fine, middle, coarse, bottom = (torch.randn(2, 8, *[size] * ndim) for size in (16, 8, 4, 2))
    with torch.no_grad():
        x = branch.u3(twice(bottom) + coarse)
        x = branch.u2(twice(x) + middle)
        features = branch.u1(twice(x) + fine)
        weight, offset = branch.head.project.weight.flatten(1), branch.head.project.bias
        logits = torch.einsum("oc,bc...->bo...", weight, features) + offset.reshape(-1, *[1] * ndim)
        found = branch(bottom, [fine, middle, coarse])
    assert list(found) == ["offsets"]
    assert logits.shape == (2, 2, *[16] * ndim)
    torch.testing.assert_close(found["offsets"], logits)
