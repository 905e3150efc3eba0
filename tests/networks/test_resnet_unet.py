import torch

from morula.networks import read_network
from morula.representations import Head

MASK = (Head("mask", 1, "sigmoid"),)


def test_the_encoder_goes_16_times_down_and_doubles_its_depth():
    with torch.device("meta"):
        network = read_network({"kind": "resnet_unet"}).build(2, 3, MASK)
        levels = network.encoder(torch.empty(1, 3, 64, 64))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]


def test_names_are_those_of_torchvision_and_timm():
    with torch.device("meta"):
        encoder = read_network({"kind": "resnet_unet"}).build(2, 3, MASK).encoder
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["bn1.running_mean"] == (64,)
    assert shapes["layer1.0.conv2.weight"] == (64, 64, 3, 3)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert shapes["layer2.0.downsample.1.bias"] == (128,)
    assert shapes["layer4.1.bn2.weight"] == (512,)
    assert not any(name.startswith("layer1.0.downsample") for name in shapes)
    # 20 convolutions, and five entries for each of the norms that follow them.
    assert len(shapes) == 20 * 6


def test_a_block_is_the_sum_of_its_input_and_two_convolutions():
    encoder = read_network({"kind": "resnet_unet", "width": 0.125}).build(2, 1, MASK).encoder.eval()
    block = encoder.layer1[0]
    with torch.no_grad():
        block.conv2.weight.zero_()
        x = torch.randn(1, 8, 4, 4)
        torch.testing.assert_close(block(x), torch.relu(x))


def test_the_decoder_doubles_the_grid_and_joins_each_level_of_the_encoder():
    network = read_network({"kind": "resnet_unet", "width": 0.125}).build(2, 3, MASK).eval()
    image = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        levels = [image, *network.encoder(image)]
        x = levels.pop()
        for block in network.decoder:
            skip = levels.pop()
            convolution, norm, act = block.up
            assert isinstance(convolution, torch.nn.ConvTranspose2d)
            assert (convolution.kernel_size, convolution.stride) == ((2, 2), (2, 2))
            x = act(norm(torch.nn.functional.conv_transpose2d(x, convolution.weight, stride=2)))
            assert x.shape[2:] == skip.shape[2:]
            x = block.block(torch.cat([x, skip], 1))
        assert not levels
        expected = network.heads(x)
        torch.testing.assert_close(network(image)[0]["mask"], expected["mask"])
    assert expected["mask"].shape == (1, 1, 32, 48)
