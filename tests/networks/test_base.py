import pytest
import torch

from morula.errors import InputError
from morula.networks import BUILT_IN, read_network
from morula.representations import Head

HEADS = (
    Head("mask", 1, "sigmoid"),
    Head("offsets", 2, "identity", ((1.0, 0.0), (0.0, 1.0))),
    Head("coarse", 3, "identity", stride=2),
    Head("coarser", 1, "identity", stride=4),
)


@pytest.mark.parametrize("kind", BUILT_IN)
@pytest.mark.parametrize("ndim", [2, 3])
def test_outputs_have_the_size_that_each_head_asks_for(kind, ndim):
    spec = read_network(
        {"kind": kind, "features": (4, 8, 8), **({"blocks": (1, 0, 1)} if "res" in kind else {})}
    )
    network = spec.build(ndim, 3, HEADS).eval()
    side = 2 * spec.divisor
    with torch.no_grad():
        outputs = network(torch.rand(1, 3, *[side] * ndim))
    assert len(outputs) == 1
    for head in HEADS:
        assert outputs[0][head.name].shape == (1, head.channels, *[side // head.stride] * ndim)


def test_deep_supervision_halves_from_output_to_output():
    spec = read_network({"kind": "plain_unet", "features": (4, 8, 8, 8)})
    network = spec.build(2, 1, HEADS[:1]).train()
    outputs = network(torch.rand(2, 1, 32, 32))
    assert [tuple(output["mask"].shape[2:]) for output in outputs] == [(32, 32), (16, 16), (8, 8)]


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_weight_has_a_gradient(kind):
    network = read_network({"kind": kind}).build(2, 1, HEADS).train()
    side = 2 * read_network({"kind": kind}).divisor
    outputs = network(torch.rand(2, 1, side, side))
    sum(value.square().mean() for output in outputs for value in output.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_wrong_network_is_named():
    with pytest.raises(InputError, match="residual_unet"):
        read_network({"kind": "residual_unt"})
    with pytest.raises(InputError, match="features"):
        read_network({"kind": "plain_unet", "feature": (4, 8)})
