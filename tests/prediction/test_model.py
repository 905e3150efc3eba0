from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from echo import Echo, echo_model, echo_plan, save_run
from morula.data.sample import RGB, Image
from morula.errors import InputError
from morula.labels.matching import match
from morula.planning.plan import Inference, Plan, Scaling
from morula.prediction.calibration import Calibration
from morula.prediction.ensemble import Ensemble, best_precision, check_device, ready
from morula.prediction.large import cut_blocks
from morula.prediction.model import Model
from morula.prediction.shipped import (
    find_folder,
    fingerprint_of,
    models,
    read_plan,
    refuse_shipped_name,
    shelf,
)
from morula.preprocessing.prepare import to_working_grid
from morula.representations import Head
from synthetic import touching_balls


def discs(spacing: int, radius: int, shape: tuple[int, ...]) -> np.ndarray:
    """Separate balls, 200 on 10."""
    centres = [np.arange(min(spacing // 2, n - 1), n, spacing) for n in shape]
    nearest = [np.abs(np.arange(n)[:, None] - c).min(1) for n, c in zip(shape, centres, strict=True)]
    distance = np.sqrt(sum(d**2 for d in np.meshgrid(*nearest, indexing="ij")))
    return np.where(distance <= radius, 200, 10).astype(np.uint8)


def blurred(spacing: int, radius: int, width: int) -> np.ndarray:
    """One disc whose outline is `width` pixels wide: sharp only where it is seen small."""
    middle = np.abs(np.arange(spacing) - (spacing - 1) / 2)
    share = np.clip((np.hypot(middle[:, None], middle) - radius) / width + 0.5, 0, 1)
    return (200 - 190 * share).astype(np.uint8)


def grey(pixels: np.ndarray) -> Image:
    return Image(pixels[None], ("grey",))


@pytest.mark.parametrize("shape", [(1, 1), (7, 90), (100, 131), (11, 40, 75)])
def test_any_size_comes_back_on_its_own_grid(shape: tuple[int, ...]):
    pixels = discs(20, 6, shape)
    found = echo_model(len(shape)).segment(grey(pixels))
    assert found.labels.shape == shape
    if min(shape) > 1:
        np.testing.assert_array_equal(found.labels > 0, pixels > 100)
    assert set(found.confidence) == set(range(1, found.labels.max() + 1))
    assert all(0 <= value <= 1 for value in found.confidence.values())


def test_a_named_channel_counts_however_faint_it_is_beside_others():
    pixels = discs(20, 6, (64, 80))
    model = echo_model()
    green = replace(model, plan=model.plan.model_copy(update={"channels": ("green",)}))
    faint = (pixels // 20).astype(np.uint8)
    image = Image(np.stack([faint, faint, 2 * pixels.astype(np.uint16)]).astype(np.uint16), RGB)
    np.testing.assert_array_equal(green.segment(image).labels > 0, model.segment(grey(pixels)).labels > 0)


def test_a_bad_pixel_stays_one_pixel_when_the_image_is_resampled():
    pixels = discs(40, 12, (120, 120)).astype(np.float32)
    whole = echo_model().segment(grey(pixels), diameter_px=24.0).labels
    pixels[60, 60] = np.nan
    found = echo_model().segment(grey(pixels), diameter_px=24.0).labels
    assert (found != whole).sum() <= 16


def test_in_blocks_as_in_one_piece(monkeypatch: pytest.MonkeyPatch):
    pixels = discs(21, 7, (260, 90))
    whole = echo_model().segment(grey(pixels))
    small = partial(cut_blocks, whole=1000, block=1000)
    monkeypatch.setattr("morula.prediction.model.cut_blocks", small)
    parts = echo_model().segment(grey(pixels))
    np.testing.assert_array_equal(parts.labels, whole.labels)
    assert parts.confidence == pytest.approx(whole.confidence)


def test_without_mirroring_the_network_runs_once():
    calls = []

    class Counted(Echo):
        def forward(self, image: torch.Tensor) -> list[dict[str, torch.Tensor]]:
            calls.append(image.shape)
            return super().forward(image)

    plan = echo_plan(inference=Inference(tile_size=(48, 48), mirror="all"))
    model = Model("counted", plan, (Counted(),))
    image = grey(discs(20, 6, (40, 40)))
    model.segment(image, diameter_px="trained")
    assert len(calls) == 4
    calls.clear()
    model.mirroring("none").segment(image, diameter_px="trained")
    assert len(calls) == 1


def test_mirroring_and_folds_average():
    head = Head("foreground", 1, "sigmoid")

    class Ramp(torch.nn.Module):
        """Logits that depend on the place alone, so that every mirror image differs."""

        def forward(self, image: torch.Tensor) -> list[dict[str, torch.Tensor]]:
            return [{"foreground": torch.arange(4.0).expand(1, 1, 4, 4) - 1.5}]

    tile = np.zeros((1, 4, 4), np.float32)
    one = Ensemble((Ramp(),), 2, mirror="none").maps(tile, (head,))["foreground"]
    np.testing.assert_allclose(one[0, 0], 1 / (1 + np.exp(-(np.arange(4) - 1.5))), rtol=1e-5)
    both = Ensemble((Ramp(), Echo()), 2, mirror="all").maps(tile, (head,))["foreground"]
    # The ramp averages to one half over its mirror images; the echo of 0 is sigmoid(-20).
    np.testing.assert_allclose(both, 0.25, atol=1e-6)


def test_a_given_diameter_scales_the_image_and_the_labels_come_back():
    pixels = discs(40, 12, (160, 120))
    model = echo_model()
    found = model.segment(grey(pixels), diameter_px=24.0)
    assert found.labels.shape == (160, 120)
    assert model.networks[0].seen[0][2:] == (48, 36)
    assert len(model.networks[0].seen) == 4
    truth = model.segment(grey(pixels)).labels
    assert match(truth, found.labels, (0.8,))[0].ap == 1


def test_the_scale_is_estimated_from_the_image():
    model = echo_model(inference=Inference(tile_size=(512, 512), mirror="all"))
    network = model.networks[0]
    large = grey(np.tile(blurred(64, 24, 12), (4, 4)))
    found = model.segment(large)
    assert (found.zoom, found.labels.max()) == (0.5, 16)
    assert network.seen[-1][2:] == (128, 128)
    plain = model.segment(large, diameter_px="trained")
    assert (plain.zoom, network.seen[-1][2:]) == (1, (256, 256))


def test_what_has_the_trained_size_or_shows_nothing_is_taken_as_it_is():
    model = echo_model(inference=Inference(tile_size=(512, 512), mirror="none"))
    for pixels in (discs(60, 6, (240, 240)), np.zeros((64, 64), np.uint8)):
        found, plain = model.segment(grey(pixels)), model.segment(grey(pixels), diameter_px="trained")
        assert found.zoom == plain.zoom == 1
        np.testing.assert_array_equal(found.labels, plain.labels)
        assert found.confidence == plain.confidence


def test_a_known_pixel_size_scales_the_image():
    plan = {"scaling": Scaling(kind="spacing", spacing_um=(1.0, 1.0), diameter_px=12.0)}
    model = echo_model(**plan, inference=Inference(tile_size=(512, 512), mirror="none"))
    image = Image(discs(40, 12, (160, 120))[None], ("grey",), (0.5, 0.5))
    assert model.segment(image).labels.shape == (160, 120)
    assert model.networks[0].seen[-1][2:] == (80, 60)
    model.segment(image, spacing_um=(0.25, 0.25))
    assert model.networks[0].seen[-1][2:] == (40, 32)


class Planes(torch.nn.Module):
    """Class 1 in even working planes and 2 in odd ones, and everywhere class 3 nearly as probable."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        self.seen.append(image.clone())
        odd = torch.arange(image.shape[2]) % 2
        # Where the other plane has a quarter or more of a blend, class 3 wins.
        shares = torch.stack([0 * odd, 0.52 * (1 - odd), 0.52 * odd, 0 * odd + 0.48])
        logits = shares.clamp(min=1e-9).log()[None, :, :, None, None]
        return [{"classes": logits.expand(1, -1, *image.shape[2:])}]


def organ_plan(working_um: tuple[float, ...]) -> Plan:
    """Classes in volumes that are resampled to a pixel size by cubic splines."""
    return echo_plan(
        3,
        scaling=Scaling(kind="spacing", spacing_um=working_um, interpolation="cubic", diameter_px=12.0),
        task="semantic",
        representation={"kind": "class_distance", "ids": (1, 2, 3), "distance": False},
    )


SPACINGS = [
    ((3.0, 1.0, 1.0), (5.0, 0.8, 0.8)),
    ((8.0, 1.0, 1.0), (3.0, 1.25, 1.25)),
    ((2.0, 1.0, 1.0), (1.0, 0.8, 0.8)),
]
"""Pixel size of the working grid and of the image; planes are thick in either, or in neither."""


@pytest.mark.parametrize(("working_um", "own_um"), SPACINGS)
@pytest.mark.parametrize("told", [False, True])
def test_the_network_sees_volumes_as_they_are_prepared_for_training(
    working_um: tuple[float, ...], own_um: tuple[float, ...], told: bool
):
    """Also where the user, not the file, says what the pixel size is."""
    pixels = np.random.default_rng(0).integers(-1000, 1000, (1, 10, 20, 24)).astype(np.int16)
    model = Model("planes", organ_plan(working_um), (Planes(),))
    image = Image(pixels, ("grey",), own_um)
    model.segment(replace(image, spacing_um=None) if told else image, spacing_um=own_um if told else None)
    (seen,) = model.networks[0].seen
    prepared, _ = to_working_grid(image, None, model.plan)
    assert prepared.shape != pixels.shape
    # Beyond the image's far edges the tile goes on.
    inside = tuple(slice(size) for size in prepared.shape[1:])
    np.testing.assert_allclose(seen[0][(slice(None), *inside)], prepared, atol=1e-6)
    model.networks[0].seen.clear()
    model.predict_maps(
        replace(image, spacing_um=None) if told else image, spacing_um=own_um if told else None
    )
    np.testing.assert_array_equal(model.networks[0].seen[0], seen)


@pytest.mark.parametrize(
    ("working_um", "own_um", "n_planes", "expected"),
    [
        # Image plane i lies at (i + 0.5) * 17 / 10 of the working planes: 0, 2, 4, 5, 7, 9, 11, 12, 14, 16.
        (*SPACINGS[0], 10, [1, 1, 1, 2, 2, 2, 2, 1, 1, 1]),
        # At (i + 0.5) * 6 / 16: 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 5.
        (*SPACINGS[1], 16, [1, 1, 1, 2, 2, 1, 1, 1, 2, 2, 2, 1, 1, 2, 2, 2]),
        # Without thick planes every plane but the outer ones lies a quarter of the way to the next.
        (*SPACINGS[2], 12, [1, *[3] * 10, 2]),
    ],
)
def test_back_on_the_image_every_plane_has_the_classes_of_the_nearest_thick_one(
    working_um: tuple[float, ...], own_um: tuple[float, ...], n_planes: int, expected: list[int]
):
    model = Model("planes", organ_plan(working_um), (Planes(),))
    image = Image(np.zeros((1, n_planes, 20, 24), np.int16), ("grey",), own_um)
    labels = model.segment(image).labels
    assert labels.shape == image.pixels.shape[1:]
    np.testing.assert_array_equal(labels, np.broadcast_to(np.array(expected)[:, None, None], labels.shape))


def test_maps_are_blended_over_all_tiles():
    labels = touching_balls(2, shape=130)
    image = np.where(labels > 0, 200, 10).astype(np.uint8)
    done = []
    maps = echo_model().predict_maps(grey(image), progress=lambda a, b: done.append((a, b)))
    assert maps["foreground"].shape == (1, 130, 130)
    np.testing.assert_array_equal(maps["foreground"][0] > 0.5, labels > 0)
    assert done[-1][0] == done[-1][1] == len(done) == 16


@pytest.mark.parametrize("diameter", [-3.0, 0.0, float("nan"), float("inf")])
def test_what_is_no_diameter_is_refused(diameter: float):
    with pytest.raises(InputError, match=r"the object diameter is .*'auto' or 'trained'"):
        echo_model().segment(grey(np.zeros((8, 8), np.uint8)), diameter_px=diameter)


def test_a_mask_in_a_camera_image_is_no_object():
    """Far from the camera's offset, 0 would be one where the image is resampled."""
    pixels = np.full((64, 64), 1000, np.float32)
    pixels[30:50, 30:50] = 1040
    whole = echo_model().segment(grey(pixels.copy()), diameter_px=10.0).labels
    pixels[5:15, 5:15] = np.nan
    assert np.array_equal(echo_model().segment(grey(pixels), diameter_px=10.0).labels, whole)
    assert whole.max() == 1


def test_wrong_dimensions_and_channels_are_refused():
    with pytest.raises(InputError, match=r"2 spatial axes .* the model 3\. Give it volumes"):
        echo_model(3).segment(grey(np.zeros((8, 8), np.uint8)))
    with pytest.raises(InputError, match="channels"):
        echo_model().segment(Image(np.zeros((2, 8, 8), np.uint8), ("dapi", "actin")))


def test_loads_every_fold_and_predicts_the_same_twice(tmp_path: Path):
    plan = echo_plan(channels=("grey",), inference=Inference(tile_size=(64, 64)))
    run = save_run(tmp_path / "run", plan, folds=3)
    model = Model.load(run)
    assert (model.name, len(model.networks)) == ("run", 3)
    image = grey(discs(20, 6, (70, 90)))
    first, second = model.predict_maps(image), Model.load(run).predict_maps(image)
    np.testing.assert_array_equal(first["foreground"], second["foreground"])


def test_folding_the_norms_changes_nothing_but_the_speed():
    plan = echo_plan()
    torch.manual_seed(0)
    network = plan.network.build(2, 1, plan.representation.heads(2))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = ready(network, 2)
    image = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        expected = network.eval()(image)[0]["foreground"]
        np.testing.assert_allclose(folded(image)[0]["foreground"], expected, atol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_broken_and_missing_models_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no model 'nuclie'"):
        Model.load("nuclie")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"without plan\.toml"):
        Model.load(tmp_path / "empty")
    run = save_run(tmp_path / "run", echo_plan(), folds=0)
    with pytest.raises(InputError, match="no fold_"):
        Model.load(run)
    (run / "fold_0").mkdir()
    weights = run / "fold_0" / "weights.safetensors"
    weights.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="does not hold this plan's network"):
        Model.load(run)
    other = save_run(tmp_path / "other", echo_plan(representation={"kind": "hover"}))
    weights.write_bytes((other / "fold_0" / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="does not hold this plan's network"):
        Model.load(run)


def test_absent_devices_are_refused():
    with pytest.raises(InputError, match="--device cpu"):
        check_device("nonsense")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx512_f": True}, "float32"),
        ({"amx_bf16": False, "avx512_bf16": False}, "float32"),
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], expected: str
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert best_precision("cpu") == expected


def test_tuned_fields_replace_those_of_the_plan(tmp_path: Path):
    run = save_run(tmp_path / "run", echo_plan())
    before = fingerprint_of(run)
    (run / "tuned.toml").write_text("[default]\nmask_threshold = 0.7\n")
    assert read_plan(run).representation.mask_threshold == 0.7
    tuned = fingerprint_of(run)
    Calibration(score=(0.1, 0.7), probability=(0.2, 0.9)).save(run)
    assert len({before, tuned, fingerprint_of(run)}) == 3
    assert find_folder(run) == run


def test_a_folder_called_like_a_shipped_model_is_a_folder_where_a_path_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    save_run(Path("generalist"), echo_plan())
    assert find_folder(Path("generalist")) == Path("generalist")
    assert find_folder("./generalist") == Path("generalist")
    assert find_folder("generalist") == shelf() / "generalist"


def test_no_model_of_ones_own_is_called_like_a_shipped_one(tmp_path: Path):
    with pytest.raises(InputError, match="name of a shipped model"):
        refuse_shipped_name(Path("generalist"))
    refuse_shipped_name(tmp_path / "generalist")
    refuse_shipped_name(Path("mine"))


def test_shipped_models_are_described():
    for name, description in models().items():
        assert find_folder(name).name == name
        assert isinstance(description, str)
