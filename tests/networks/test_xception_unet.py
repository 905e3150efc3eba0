import pytest
import torch
from torch import nn

from morula.networks import read_network
from morula.networks.blocks import ConvBlock, Style
from morula.networks.xception_unet import Inception, SeparableConv, SqueezeExcite, XceptionBlock
from morula.representations import Head

MASK = (Head("mask", 1, "sigmoid"),)


def build(**fields) -> nn.Module:
    with torch.device("meta"):
        return read_network({"kind": "xception_unet", **fields}).build(2, 3, MASK)


def test_the_encoder_goes_32_times_down_with_same_padding():
    levels = build().encoder(torch.empty(1, 3, 96, 64, device="meta"))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (64, 48, 32),
        (128, 24, 16),
        (256, 12, 8),
        (728, 6, 4),
        (2048, 3, 2),
    ]


def test_names_are_those_of_timm():
    shapes = {name: tuple(value.shape) for name, value in build().encoder.state_dict().items()}
    assert shapes["conv1.weight"] == (32, 3, 3, 3)
    assert shapes["conv2.weight"] == (64, 32, 3, 3)
    # The first block begins with a convolution, the others with a ReLU.
    assert shapes["block1.rep.0.conv1.weight"] == (64, 1, 3, 3)
    assert shapes["block1.rep.0.pointwise.weight"] == (128, 64, 1, 1)
    assert shapes["block1.rep.4.running_var"] == (128,)
    assert shapes["block2.rep.1.conv1.weight"] == (128, 1, 3, 3)
    assert shapes["block2.skip.weight"] == (256, 128, 1, 1)
    assert shapes["block3.skipbn.bias"] == (728,)
    assert shapes["block11.rep.8.weight"] == (728,)
    assert shapes["block12.rep.1.pointwise.weight"] == (728, 728, 1, 1)
    assert shapes["block12.rep.4.pointwise.weight"] == (1024, 728, 1, 1)
    assert shapes["conv4.pointwise.weight"] == (2048, 1536, 1, 1)
    assert shapes["bn4.weight"] == (2048,)
    assert not any(name.startswith("block4.skip") for name in shapes)


@pytest.mark.parametrize("inception", [True, False])
@pytest.mark.parametrize("se_ratio", [0, 4])
def test_each_part_of_the_decoder_can_be_left_out(inception, se_ratio):
    kinds = [type(m) for m in build(inception=inception, se_ratio=se_ratio).decoder.modules()]
    assert kinds.count(Inception) == (5 if inception else 0)
    assert kinds.count(ConvBlock) == (0 if inception else 5)
    assert kinds.count(SqueezeExcite) == (5 if se_ratio else 0)


def test_squeeze_and_excitation_by_hand():
    module = SqueezeExcite(2, 4, 2)
    assert [m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)] == [2, 4]
    x = torch.rand(2, 4, 3, 3)
    with torch.no_grad():
        first, second = module.excite[1], module.excite[3]
        mean = x.mean((2, 3))
        inner = torch.relu(mean @ first.weight[:, :, 0, 0].T + first.bias)
        weights = torch.sigmoid(inner @ second.weight[:, :, 0, 0].T + second.bias)
        torch.testing.assert_close(module(x), x * weights[:, :, None, None])


@pytest.mark.parametrize(("kind", "layer"), [("relu", nn.ReLU), ("elu", nn.ELU), ("selu", nn.SELU)])
def test_the_decoder_has_the_activation_asked_for_and_the_encoder_relu(kind, layer):
    network = build(activation=kind, se_ratio=0)
    # Per block: the transposed convolution and seven of the inception module.
    assert sum(isinstance(m, layer) for m in network.decoder.modules()) == 5 * 8
    assert sum(isinstance(m, nn.ELU | nn.SELU) for m in network.encoder.modules()) == 0


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel and offset of a convolution and the norm after it, in evaluation."""
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor


def draw_norms(module: nn.Module) -> None:
    """As after a training: no norm leaves its input as it is."""
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)


def test_an_inception_module_by_hand():
    torch.manual_seed(0)
    module = Inception(Style(2, activation="relu"), 6, 8).eval()
    draw_norms(module)
    x = torch.randn(2, 6, 7, 5)

    def run(branch: nn.Module, values: torch.Tensor) -> torch.Tensor:
        layers = [m for m in branch.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
        for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
            kernel, offset = folded(convolution, norm)
            values = torch.relu(nn.functional.conv2d(values, kernel, offset, padding=kernel.shape[-1] // 2))
        return values

    sizes = [
        [m.kernel_size[0] for m in branch.modules() if isinstance(m, nn.Conv2d)] for branch in module.branches
    ]
    assert sizes == [[1], [1, 3], [1, 3, 3], [1]]
    inputs = (x, x, x, nn.functional.max_pool2d(x, 3, 1, 1))
    expected = [run(branch, values) for branch, values in zip(module.branches, inputs, strict=True)]
    with torch.no_grad():
        found = module(x)
    assert found.shape == (2, 8, 7, 5)
    torch.testing.assert_close(found, torch.cat(expected, 1))


@pytest.mark.parametrize("relu_first", [True, False])
@pytest.mark.parametrize(("widths", "stride"), [((4, 6, 6), 2), ((4, 4, 6), 2), ((4, 4), 2), ((4,) * 4, 1)])
def test_an_xception_block_by_hand(widths, stride, relu_first):
    torch.manual_seed(0)
    block = XceptionBlock(2, widths, stride, relu_first).eval()
    draw_norms(block)
    x = torch.randn(2, 4, 8, 6)
    separable = [m for m in block.rep.modules() if isinstance(m, SeparableConv)]
    norms = [m for m in block.rep.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(separable) == len(norms) == len(widths) - 1
    with torch.no_grad():
        inner = x
        for number, (layer, norm) in enumerate(zip(separable, norms, strict=True)):
            inner = torch.relu(inner) if number or relu_first else inner
            inner = nn.functional.conv2d(inner, layer.conv1.weight, padding=1, groups=inner.shape[1])
            inner = nn.functional.conv2d(inner, *folded(layer.pointwise, norm))
        if stride == 1:
            # The input itself, negative values too: the ReLU is inside the other path.
            expected = inner + x
        else:
            # Every second pixel, projected and normalised.
            kernel, offset = folded(block.skip, block.skipbn)
            skip = torch.einsum("oi,bihw->bohw", kernel[:, :, 0, 0], x[:, :, ::2, ::2])
            expected = nn.functional.max_pool2d(inner, 3, 2, 1) + skip + offset[:, None, None]
        found = block(x.clone())
    assert found.shape == (2, widths[-1], 8 // stride, 6 // stride)
    torch.testing.assert_close(found, expected)
