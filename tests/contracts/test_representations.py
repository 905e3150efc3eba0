"""The contract: every representation passes these laws, in 2D and in 3D."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from morula.errors import InputError
from morula.representations import BUILT_IN, Head, Representation, mirror, read_representation
from morula.spec import dump_toml, read_toml
from synthetic import touching_balls

PARTS = {"shape": {"kind": "signed_distance"}, "borders": {"kind": "shrunk_borders"}, "hv": {"kind": "hover"}}
SPECS = {
    **{kind: {"kind": kind} for kind in BUILT_IN if kind not in ("union", "class_distance")},
    "class_distance": {"kind": "class_distance", "ids": [1, 2, 3]},
    "class_distance alone": {"kind": "class_distance", "ids": [1, 3, 2], "distance": False},
    "class_distance l1": {"kind": "class_distance", "ids": [1, 2, 3], "error": "l1"},
    "foreground split": {"kind": "foreground", "split": "distance", "losses": "dice_and_hardest"},
    "hover published": {
        "kind": "hover",
        "border_scale": "stretched",
        "marker_threshold": 0.7,
        "opening_px": 2,
        "min_marker_px": 10,
    },
    "interior_boundary weighted": {"kind": "interior_boundary", "weight_map": True},
    "shrunk_borders elevation": {"kind": "shrunk_borders", "elevation": "shrunk", "losses": "dice"},
    "shrunk_borders as in the text": {"kind": "shrunk_borders", "elevation": "nuclei"},
    "shrunk_borders walker": {"kind": "shrunk_borders", "decoder": "random_walker"},
    "signed_distance dynamics": {"kind": "signed_distance", "markers": "dynamics", "error": "l2"},
    "star_convex stride 2": {"kind": "star_convex", "stride": 2, "rays_per_sector": 12},
    "union": {"kind": "union", "parts": PARTS, "decoder": "borders", "weights": {"shape": 2.0}},
}
each = pytest.mark.parametrize(
    "representation", [read_representation(s) for s in SPECS.values()], ids=list(SPECS)
)
both = pytest.mark.parametrize("ndim", [2, 3])


@pytest.fixture
def labels(labels: np.ndarray, request: pytest.FixtureRequest) -> np.ndarray:
    """Touching objects; for a representation of classes each of them is of one of three classes."""
    representation = request.node.callspec.params.get("representation")
    if representation is not None and representation.task == "semantic":
        return np.where(labels > 0, (labels - 1) % 3 + 1, 0).astype(np.int32)
    return labels


def accuracy(truth: np.ndarray, predicted: np.ndarray, iou: float = 0.7) -> float:
    """Matched instances over all instances, TP / (TP + FP + FN), by a full table: slow and plain."""
    bins = (np.arange(truth.max() + 2), np.arange(predicted.max() + 2))
    overlap = np.histogram2d(truth.ravel(), predicted.ravel(), bins)[0]
    union = overlap.sum(1, keepdims=True) + overlap.sum(0) - overlap
    matched = ((overlap / union)[1:, 1:] >= iou).sum()
    return float(matched / (truth.max() + predicted.max() - matched))


def spacing_of(labels: np.ndarray) -> tuple[float, ...]:
    return (1.0,) * labels.ndim


def batch(maps: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array))[None] for name, array in maps.items()}


def logits_of(targets: dict[str, torch.Tensor], heads: tuple[Head, ...]) -> dict[str, torch.Tensor]:
    """Logits whose activation is all but the target."""
    return {
        head.name: targets[head.name] if head.activation == "identity" else 20 * targets[head.name] - 10
        for head in heads
    }


def guess(truth: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(value.shape, generator=generator).requires_grad_() for name, value in truth.items()
    }


def everything(representation: Representation, labels: np.ndarray, spacing: tuple[float, ...]) -> dict:
    """All that the loss is given."""
    return representation.encode(labels, spacing) | representation.image_maps(labels, spacing)


@each
def test_decoding_undoes_encoding(representation: Representation, labels: np.ndarray) -> None:
    if representation.kind == "foreground" and representation.split == "none":
        # Plain components cannot part what touches: they are asked about lone objects only.
        labels = np.where(np.isin(labels, [1, labels.max()]), labels, 0)
        labels = (labels > 0) + (labels == labels.max()).astype(np.int32)
    spacing = spacing_of(labels)
    decoded = representation.decode(representation.encode(labels, spacing), spacing)
    assert decoded.dtype == np.int32
    assert decoded.shape == labels.shape
    assert set(np.unique(decoded)) == set(range(decoded.max() + 1))
    assert accuracy(labels, decoded) == 1


@each
def test_heads_describe_targets(representation: Representation, labels: np.ndarray) -> None:
    targets = everything(representation, labels, spacing_of(labels))
    heads = representation.heads(labels.ndim)
    assert {head.name for head in heads} <= set(targets)
    for array in representation.image_maps(labels, spacing_of(labels)).values():
        assert array.shape == (1, *labels.shape)
    for head in heads:
        grid = tuple(size // head.stride for size in labels.shape)
        assert targets[head.name].shape == (head.channels, *grid)
        assert len(head.directions) in (0, head.channels)
        if head.activation != "identity":
            assert targets[head.name].min() >= 0
            assert targets[head.name].max() <= 1
        if head.activation == "softmax":
            np.testing.assert_array_equal(targets[head.name].sum(0), 1)
    for name, array in targets.items():
        assert array.dtype == np.float32, name
        assert array.flags.c_contiguous, name
        assert np.isfinite(array).all(), name


@each
def test_mirroring_commutes_with_encoding(representation: Representation, labels: np.ndarray) -> None:
    targets = representation.encode(labels, spacing_of(labels))
    for axis in range(labels.ndim):
        mirrored = representation.encode(np.flip(labels, axis).copy(), spacing_of(labels))
        for head in representation.heads(labels.ndim):
            actual = mirror(targets[head.name], head, axis)
            np.testing.assert_allclose(actual, mirrored[head.name], atol=1e-5, err_msg=head.name)


@each
def test_loss_prefers_the_truth_and_has_gradients(representation: Representation, labels: np.ndarray) -> None:
    targets = batch(everything(representation, labels, spacing_of(labels)))
    truth = logits_of(targets, representation.heads(labels.ndim))
    annotated = torch.ones(1, 1, *labels.shape)
    good = sum(representation.loss(truth, targets, annotated).values())
    guessed = guess(truth)
    terms = representation.loss(guessed, targets, annotated)
    assert all(torch.isfinite(term) and term.ndim == 0 and term >= 0 for term in terms.values())
    bad = sum(terms.values())
    assert good < 0.5 * bad
    bad.backward()
    for value in guessed.values():
        assert torch.isfinite(value.grad).all()
        assert value.grad.abs().sum() > 0


@each
def test_loss_is_silent_where_nothing_is_annotated(
    representation: Representation, labels: np.ndarray
) -> None:
    left = labels.copy()
    left[..., labels.shape[-1] // 2 :] = -1
    targets = batch(everything(representation, left, spacing_of(labels)))
    heads = representation.heads(labels.ndim)
    guessed = guess(logits_of(targets, heads))
    annotated = torch.from_numpy((left != -1).astype(np.float32))[None, None]
    sum(representation.loss(guessed, targets, annotated).values()).backward()
    for head in heads:
        # HoVer compares slopes over five pixels: those at the seam may reach across it.
        seam = labels.shape[-1] // 2 // head.stride + (3 if head.directions else 0)
        assert guessed[head.name].grad[..., seam:].abs().max() == 0
        assert guessed[head.name].grad[..., :seam].abs().max() > 0
    nothing = representation.loss(guessed, targets, torch.zeros_like(annotated))
    assert all(float(term.detach()) == pytest.approx(0, abs=1e-6) for term in nothing.values())


@each
def test_loss_of_half_precision_logits(representation: Representation, labels: np.ndarray) -> None:
    targets = batch(everything(representation, labels, spacing_of(labels)))
    truth = logits_of(targets, representation.heads(labels.ndim))
    annotated = torch.ones(1, 1, *labels.shape)
    half = {name: value.detach().bfloat16() for name, value in guess(truth).items()}
    full = {name: value.float() for name, value in half.items()}
    low, high = (representation.loss(logits, targets, annotated) for logits in (half, full))
    assert {name: float(term) for name, term in low.items()} == {
        name: float(term) for name, term in high.items()
    }


@each
def test_coarser_scales_of_deep_supervision(representation: Representation, labels: np.ndarray) -> None:
    targets = batch(everything(representation, labels, spacing_of(labels)))
    step = (slice(None), slice(None), *[slice(None, None, 2)] * labels.ndim)
    coarse = {name: value[step] for name, value in targets.items()}
    annotated = torch.ones(1, 1, *labels.shape)[step]
    terms = representation.loss(logits_of(coarse, representation.heads(labels.ndim)), coarse, annotated)
    assert all(torch.isfinite(term) for term in terms.values())


@each
@both
def test_empty_image(representation: Representation, ndim: int) -> None:
    empty, spacing = np.zeros((16,) * ndim, np.int32), (1.0,) * ndim
    maps = representation.encode(empty, spacing)
    assert representation.decode(maps, spacing).max() == 0
    targets = batch(everything(representation, empty, spacing))
    truth = logits_of(targets, representation.heads(ndim))
    terms = representation.loss(truth, targets, torch.ones(1, 1, *empty.shape))
    assert all(torch.isfinite(term) for term in terms.values())


@each
@both
def test_one_pixel_and_one_object_that_fills_the_image(representation: Representation, ndim: int) -> None:
    spacing = (1.0,) * ndim
    speck, full = np.zeros((16,) * ndim, np.int32), np.ones((16,) * ndim, np.int32)
    speck[(4,) * ndim] = 1
    for labels in (speck, full):
        maps = representation.encode(labels, spacing)
        assert all(np.isfinite(array).all() for array in maps.values())
        assert representation.decode(maps, spacing).max() <= 1


@each
def test_encoding_leaves_its_input_alone_and_ignores_ids(
    representation: Representation, labels: np.ndarray
) -> None:
    labels.setflags(write=False)
    gaps = np.where(labels > 0, labels * 70_000 + 9, 0).astype(np.int32)
    # The ids of classes mean something.
    gaps = labels if representation.task == "semantic" else gaps
    unlabelled = np.where(labels == 0, np.int32(-1), labels)
    targets = representation.encode(labels, spacing_of(labels))
    for other in (gaps, unlabelled):
        for name, array in representation.encode(other, spacing_of(labels)).items():
            np.testing.assert_allclose(array, targets[name], atol=1e-5, err_msg=name)


@each
def test_decoding_leaves_its_input_alone_and_survives_noise(
    representation: Representation, labels: np.ndarray
) -> None:
    maps = representation.encode(labels, spacing_of(labels))
    rng = np.random.default_rng(0)
    noisy = {key: (m + rng.normal(0, 0.2, m.shape)).astype(np.float32) for key, m in maps.items()}
    before = {key: m.copy() for key, m in noisy.items()}
    for m in noisy.values():
        m.setflags(write=False)
    decoded = representation.decode(noisy, spacing_of(labels))
    assert decoded.shape == labels.shape
    for key, m in noisy.items():
        np.testing.assert_array_equal(m, before[key])


@each
def test_anisotropic_spacing(representation: Representation) -> None:
    labels = touching_balls(3, 48)[::3].copy()
    if representation.kind == "foreground":
        return
    if representation.task == "semantic":
        labels = np.minimum(labels, 3)
    spacing = (3.0, 1.0, 1.0)
    stride = max(head.stride for head in representation.heads(3))
    labels = labels[: len(labels) // stride * stride]
    decoded = representation.decode(representation.encode(labels, spacing), spacing)
    assert accuracy(labels, decoded, 0.6) > 0.85


@each
def test_plan_round_trip(representation: Representation, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(dump_toml(representation.model_dump()))
    assert read_representation(read_toml(path)) == representation


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "hovr"}, "unknown representation 'hovr'. Did you mean 'hover'"),
        ({"kind": "hover", "marker_treshold": 0.3}, "Did you mean 'marker_threshold'"),
        ({"kind": "hover", "marker_threshold": 3.0}, "marker_threshold = 3.0: .*less than 1"),
        (
            {"kind": "shrunk_borders", "decoder": "magic"},
            "decoder = 'magic': .*'watershed' or 'random_walker'",
        ),
        ({"kind": "no_such_package:Mine"}, "cannot be imported"),
        ({"kind": "union", "parts": PARTS, "decoder": "nobody"}, "no part 'nobody'"),
        ("hover", "is a table with the key 'kind'"),
    ],
)
def test_mistakes_are_named(table: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_representation(table)


class Whole(Representation, frozen=True):
    """A representation that some other package brings along."""

    kind: Literal["test_outside:Whole"] = "test_outside:Whole"

    def heads(self, ndim): ...
    def encode(self, labels, spacing): ...
    def loss(self, logits, targets, annotated): ...
    def decode(self, maps, spacing): ...


def test_a_representation_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "test_outside", SimpleNamespace(Whole=Whole))
    assert isinstance(read_representation({"kind": "test_outside:Whole"}), Whole)


def test_importing_a_representation_does_not_import_torch() -> None:
    import subprocess
    import sys

    names = ", ".join(target.split(":")[0] for target in BUILT_IN.values())
    code = f"import sys, {names}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
