import torch

from morula.networks import read_network
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
