import math

import pytest
import torch
from safetensors.torch import save_file

from morula.errors import InputError
from morula.networks import BUILT_IN, read_network
from morula.prediction.ensemble import ready
from morula.representations import Head

HEADS = (
    Head("mask", 1, "sigmoid"),
    Head("offsets", 2, "identity", ((1.0, 0.0), (0.0, 1.0))),
    Head("coarse", 3, "identity", stride=2),
    Head("coarser", 1, "identity", stride=4),
)

SMALL = {
    "plain_unet": {"features": (4, 8, 8)},
    "residual_unet": {"features": (4, 8, 8), "blocks": (1, 0, 1)},
    "resnet_unet": {"width": 0.125},
    "xception_unet": {"width": 0.05},
    "hovernet": {"width": 0.05},
}
"""Fields that make each kind quick."""


def small(kind: str, **fields):
    return read_network({"kind": kind, **SMALL[kind], **fields})


def image_of(spec, ndim: int, channels: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, channels, *[2 * step for step in spec.divisors(ndim)])


def test_every_kind_is_tested():
    assert SMALL.keys() == BUILT_IN.keys()


@pytest.mark.parametrize("kind", BUILT_IN)
@pytest.mark.parametrize("ndim", [2, 3])
def test_outputs_have_the_size_that_each_head_asks_for(kind, ndim):
    spec = small(kind)
    network = spec.build(ndim, 3, HEADS).eval()
    image = image_of(spec, ndim, 3)
    with torch.no_grad():
        outputs = network(image)
    assert len(outputs) == 1
    assert list(outputs[0]) == [head.name for head in HEADS]
    for head in HEADS:
        sides = [side // head.stride for side in image.shape[2:]]
        assert outputs[0][head.name].shape == (1, head.channels, *sides)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_smallest_size_is_the_divisor_and_sides_may_differ(kind):
    spec = small(kind)
    step, other = spec.divisors(2)
    with torch.no_grad():
        outputs = spec.build(2, 1, HEADS).eval()(torch.rand(1, 1, 2 * step, 3 * other))
    assert outputs[0]["mask"].shape[2:] == (2 * step, 3 * other)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_weight_has_a_gradient(kind):
    spec = small(kind)
    network = spec.build(2, 1, HEADS).train()
    outputs = network(image_of(spec, 2, 1, batch=2))
    sum(value.square().mean() for output in outputs for value in output.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_frozen_encoder_leaves_the_rest_to_learn(kind):
    spec = small(kind)
    network = spec.build(2, 1, HEADS).train()
    encoder = network.get_submodule("encoder").requires_grad_(False)
    frozen = {id(parameter) for parameter in encoder.parameters()}
    assert frozen
    outputs = network(image_of(spec, 2, 1, batch=2))
    sum(value.square().mean() for output in outputs for value in output.values()).backward()
    assert all((p.grad is None) == (id(p) in frozen) for p in network.parameters())


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_same_seed_draws_the_same_weights(kind):
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(torch.cat([p.flatten() for p in small(kind).build(2, 1, HEADS).parameters()]))
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_network_made_ready_answers_the_same(kind):
    """Prediction folds norms into convolutions and runs in channels-last order."""
    spec = small(kind)
    network = spec.build(2, 1, HEADS)
    image = image_of(spec, 2, 1, batch=4)
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.rand_like(image))
        expected = network.eval()(image)[0]
        found = ready(network, 2)(image.contiguous(memory_format=torch.channels_last))[0]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-3 * float(value.abs().max()))


@pytest.mark.parametrize("kind", BUILT_IN)
def test_autocast_gives_finite_float32_logits(kind):
    spec = small(kind)
    network = spec.build(2, 1, HEADS).train().to(memory_format=torch.channels_last)
    image = image_of(spec, 2, 1, batch=2).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image)[0]
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in logits.values())


@pytest.mark.parametrize("kind", BUILT_IN)
def test_an_encoder_starts_from_a_file(kind, tmp_path):
    donor = small(kind).build(2, 3, HEADS)
    save_file(donor.encoder.state_dict(), tmp_path / "weights.safetensors")
    spec = small(kind, encoder_weights=str(tmp_path / "weights.safetensors"))
    network = spec.build(2, 3, HEADS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    spec.load_encoder(network)
    encoder = {f"encoder.{name}": value for name, value in donor.encoder.state_dict().items()}
    for name, value in network.state_dict().items():
        assert torch.equal(value, encoder.get(name, before[name]))


def test_without_a_file_the_encoder_stays_as_it_is():
    spec = small("resnet_unet")
    network = spec.build(2, 3, HEADS)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    spec.load_encoder(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("kind", ["resnet_unet", "xception_unet", "hovernet"])
def test_width_scales_the_weights(kind):
    def weights(width: float) -> int:
        with torch.device("meta"):
            network = read_network({"kind": kind, "width": width}).build(2, 3, HEADS)
        return sum(p.numel() for p in network.parameters())

    assert math.isclose(weights(0.5) / weights(1.0), 0.25, rel_tol=0.1)


def test_a_wrong_network_is_named():
    with pytest.raises(InputError, match="residual_unet"):
        read_network({"kind": "residual_unt"})
    with pytest.raises(InputError, match="features"):
        read_network({"kind": "plain_unet", "feature": (4, 8)})
