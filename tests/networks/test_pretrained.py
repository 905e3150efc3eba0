import pytest
import torch
from safetensors.torch import save_file

from morula.errors import InputError
from morula.networks import read_network
from morula.networks.pretrained import load_weights
from morula.representations import Head

HEADS = (Head("mask", 1, "sigmoid"),)


def encoder(channels: int = 3, ndim: int = 2, width: float = 0.125):
    return read_network({"kind": "resnet_unet", "width": width}).build(ndim, channels, HEADS).encoder


@pytest.fixture(scope="module")
def weights():
    return encoder().state_dict()


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_grey_image_in_any_number_of_channels_gives_the_same(tmp_path, weights, channels):
    path = tmp_path / "weights.safetensors"
    save_file(weights, path)
    target, source = encoder(channels).eval(), encoder().eval()
    load_weights(target, str(path))
    load_weights(source, str(path))
    grey = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        pairs = zip(target(grey.repeat(1, channels, 1, 1)), source(grey.repeat(1, 3, 1, 1)), strict=True)
        for found, expected in pairs:
            torch.testing.assert_close(found, expected)


def test_a_classifier_and_missing_counters_are_passed_over(tmp_path, weights):
    path = tmp_path / "weights.safetensors"
    kept = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    save_file({**kept, "fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}, path)
    target = encoder()
    load_weights(target, str(path))
    assert all(torch.equal(target.state_dict()[name], value) for name, value in kept.items())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"network\.encoder_weights = '.*none\.safetensors': there is no such"
    ):
        load_weights(encoder(), str(tmp_path / "none.safetensors"))


def test_a_file_of_another_form_is_named(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not at all")
    with pytest.raises(InputError, match=r"weights\.pth is no safetensors file"):
        load_weights(encoder(), str(path))


def test_weights_of_another_network_are_refused(tmp_path, weights):
    path = tmp_path / "weights.safetensors"
    save_file({**weights, "layer1.2.conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"1 are unknown, such as layer1\.2\.conv1\.weight"):
        load_weights(encoder(), str(path))
    save_file({name: value for name, value in weights.items() if not name.startswith("layer4")}, path)
    with pytest.raises(InputError, match=r"are missing, such as layer4\."):
        load_weights(encoder(), str(path))


@pytest.mark.parametrize("change", [{"width": 0.25}, {"ndim": 3}])
def test_weights_of_another_shape_are_refused_and_nothing_is_copied(tmp_path, weights, change):
    path = tmp_path / "weights.safetensors"
    save_file(weights, path)
    target = encoder(**change)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(InputError, match="2D networks of width 1 only"):
        load_weights(target, str(path))
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
