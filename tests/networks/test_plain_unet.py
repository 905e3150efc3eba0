import pytest
import torch
from torch import nn

from morula.errors import InputError
from morula.networks import read_network
from morula.representations import Head

HEADS = (Head("mask", 1, "sigmoid"), Head("coarse", 1, "identity", stride=2))
MASK = HEADS[:1]
FLAT = {
    "features": (4, 8, 8, 8),
    "strides": ((1, 2, 2), (1, 2, 2), (2, 2, 2)),
    "kernels": ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)),
}


def plain(**fields):
    return read_network({"kind": "plain_unet", **fields})


def convolutions(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def test_deep_supervision_halves_from_output_to_output():
    network = plain(features=(4, 8, 8, 8)).build(2, 1, HEADS[:1]).train()
    outputs = network(torch.rand(2, 1, 32, 32))
    assert [tuple(output["mask"].shape[2:]) for output in outputs] == [(32, 32), (16, 16), (8, 8)]


def test_nine_blocks_down_and_eight_up():
    """System A, for patches of 1024 x 1024."""
    features = tuple(min(32 * 2**level, 480) for level in range(9))
    spec = plain(features=features, dropout=0.1)
    assert spec.divisors(2) == (256, 256)
    with torch.device("meta"):
        network = spec.build(2, 3, MASK).train()
        outputs = network(torch.empty(1, 3, 1024, 1024))
    assert (len(network.encoder), len(network.decoder)) == (9, 8)
    assert [output["mask"].shape[-1] for output in outputs] == [1024 // 2**level for level in range(8)]
    kinds = [type(layer).__name__ for layer in network.encoder[3]]
    assert kinds == ["Conv2d", "InstanceNorm", "LeakyReLU", "Dropout2d"] * 2


def test_a_coarse_axis_is_neither_pooled_nor_mixed_until_it_is_alike():
    """Slices of 7.7 mm with pixels of 1.25 mm: two levels pass before they meet."""
    spec = plain(**FLAT)
    assert spec.divisors(3) == (2, 8, 8)
    network = spec.build(3, 1, HEADS).train()
    outputs = network(torch.rand(1, 1, 4, 32, 32))
    assert [tuple(output["mask"].shape[2:]) for output in outputs] == [(4, 32, 32), (4, 16, 16), (4, 8, 8)]
    assert tuple(outputs[0]["coarse"].shape[2:]) == (2, 16, 16)
    assert network.encoder[0][0].kernel_size == (1, 3, 3)


def test_flat_kernels_keep_slices_apart():
    spec = plain(features=(4, 8), strides=((1, 2, 2),), kernels=((1, 3, 3),) * 2, norm="batch")
    network = spec.build(3, 1, MASK).eval()
    image = torch.rand(1, 1, 3, 8, 8)
    other = image.clone()
    other[:, :, 0] += 1
    with torch.no_grad():
        one, two = network(image)[0]["mask"], network(other)[0]["mask"]
    assert not torch.allclose(one[:, :, 0], two[:, :, 0])
    torch.testing.assert_close(one[:, :, 1:], two[:, :, 1:])


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        # He for slope 0.01; Glorot: 2 / (fan in + fan out).
        ("he", lambda weight: 2 / (1 + 0.01**2) / weight[0].numel()),
        ("glorot", lambda weight: 2 / (weight[0].numel() + weight.shape[0] * weight[0, 0].numel())),
    ],
)
def test_weights_are_drawn_as_asked_for(init, variance):
    torch.manual_seed(0)
    network = plain(features=(32, 64), init=init).build(2, 8, MASK)
    for layer in convolutions(network):
        assert layer.bias is None or not layer.bias.any()
        if layer.weight.numel() > 1000:
            spread = float(layer.weight.detach().var())
            assert spread == pytest.approx(variance(layer.weight), rel=0.1)
    weights = [layer.weight.detach() for layer in convolutions(network)[:4]]
    bound = max(float(weight.abs().max() / weight.std()) for weight in weights)
    # A uniform distribution ends at the root of 3 deviations, a normal one goes beyond.
    assert (bound < 1.8) == (init == "glorot")


@pytest.mark.parametrize(
    ("kind", "layer"),
    [("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU), ("elu", nn.ELU), ("selu", nn.SELU)],
)
def test_activations_and_norms(kind, layer):
    network = plain(features=(4, 8), activation=kind, norm="batch").build(2, 1, MASK)
    modules = list(network.modules())
    assert sum(isinstance(module, layer) for module in modules) == 6
    assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == 6


def test_selu_keeps_mean_0_and_deviation_1():
    """Klambauer et al. 2017: its fixed point, here behind a batch norm."""
    network = plain(features=(64, 64), activation="selu", norm="batch", init="glorot").build(2, 1, MASK)
    with torch.no_grad():
        values = network.train().encoder[0](torch.randn(4, 1, 32, 32))
    assert float(values.mean()) == pytest.approx(0, abs=0.1)
    assert float(values.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"features": (4, 8), "strides": ((2, 2), (2, 2))}, "expected 1 rows"),
        ({"features": (4, 8), "kernels": ((3, 3),)}, "expected 2 rows"),
        ({"features": (4, 8), "kernels": ((3, 3), (3, 3, 3))}, "one number per axis"),
        ({"features": (4, 8), "strides": ((2, 4),)}, "1 .keep. or 2 .halve."),
        ({"features": (4, 8), "kernels": ((3, 2), (3, 3))}, "odd sizes"),
        ({"features": (4, 8), "init": "xavier"}, "glorot"),
        ({"features": (4, 8), "activation": "gelu"}, "selu"),
    ],
)
def test_what_does_not_fit_is_explained(fields, message):
    with pytest.raises(InputError, match=message):
        plain(**fields)
