"""The recipes of the published systems: each plans, trains, is saved, loaded and predicts."""

from collections.abc import Iterable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from morula.data.layouts import open_dataset
from morula.errors import InputError
from morula.networks.count import cost
from morula.planning.classes import ClassFacts
from morula.planning.fingerprint import Fingerprint, fingerprint
from morula.planning.plan import Plan
from morula.planning.planner import make_plan, parse_overrides
from morula.prediction.model import Model
from morula.preprocessing.prepare import prepare
from morula.training.loop import build_network, train_fold
from morula.training.schedule import rate_factor
from planning.conftest import facts_of
from synthetic import picture_of, touching_balls

SMALL = {
    "nnunet-weightmap": ["network.features=[4, 8, 8]"],
    "resnet-unet-ohem": ["network.width=0.05"],
    "stardist": ["network.features=[4, 8]"],
    "multihead-plain": ["network.features=[4, 8, 8]"],
    "multihead-xception": ["network.width=0.05"],
    "multihead-xception-only": ["network.width=0.05"],
    "hovernet-stpp": ["network.width=0.05"],
}


@pytest.fixture
def make_facts():
    return facts_of


each = pytest.mark.parametrize("name", sorted(SMALL))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[Path, Fingerprint]:
    root = tmp_path_factory.mktemp("data")
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for index in range(2):
        labels = touching_balls(2, shape=64, radius=6 + index)
        grey = picture_of(labels, index)
        colour = np.stack([grey, 255 - grey, grey], -1)
        tifffile.imwrite(root / "images" / f"{index}.tif", colour, photometric="rgb")
        tifffile.imwrite(root / "labels" / f"{index}.tif", labels.astype(np.uint16))
    return root, fingerprint(open_dataset(root))


@each
def test_it_trains_is_saved_loaded_and_predicts(data, tmp_path, name):
    root, facts = data
    dataset = open_dataset(root)
    changes = ["training.steps=2", "training.batch_size=2", "training.precision=float32", *SMALL[name]]
    plan, reasons = make_plan(facts, name, parse_overrides(changes))
    assert plan.recipe == name
    assert plan.training.patch_size == (64, 64)
    (tmp_path / "plan.toml").write_text(plan.dumps(reasons))
    assert Plan.load(tmp_path / "plan.toml") == plan
    samples = prepare(dataset, dataset.samples, plan, tmp_path / "prepared")
    assert set(samples[0].maps) == ({"weight"} if name == "nnunet-weightmap" else set())
    train_fold(plan, samples, tmp_path / "fold_0")
    # Any size will do: mirrored up to the next multiple, cropped back.
    image = dataset.image(dataset.samples[0])
    found = Model.load(tmp_path).segment(replace(image, pixels=image.pixels[:, :50, :61]))
    assert found.labels.shape == (50, 61)


@each
def test_nothing_is_left_to_the_rules_for_auto(make_facts, name):
    """Rules that think of `auto` must not slip into a published system."""
    plan, _ = make_plan(make_facts(names=[("red", "green", "blue")] * 40), name)
    assert (plan.ndim, plan.scaling.kind, plan.scaling.factor) == (2, "native", 1.0)
    assert (plan.training.ema, plan.training.calm_share, plan.training.schedule.warmup) == (0, 0, 0)
    changes = plan.training.augmentation
    assert (changes.invert, changes.colour, changes.per_object, changes.elastic) == (0, 0, 0, 0)
    assert plan.training.patch_size == (256, 256)


@each
def test_images_that_it_cannot_serve_are_refused(make_facts, name):
    with pytest.raises(
        InputError, match=rf"3 spatial axes, {name} .*with 2.*Recipes that fit: .*auto"
    ) as error:
        make_plan(make_facts(ndim=3), name)
    fitting = str(error.value).split("fit: ")[1]
    assert name not in fitting
    assert "If the labels are classes (organs): auto, nnunet-sdm." in fitting


def test_organs_are_refused_by_name_of_the_recipe_that_fits(make_facts):
    with pytest.raises(InputError, match=r"classes \(organs\).*Recipes that fit: .*nnunet-sdm"):
        make_plan(make_facts(task="semantic"), "multihead-plain")
    with pytest.raises(InputError, match=r"Recipes that fit: .*nnunet-sdm"):
        make_plan(make_facts(ndim=3, task="semantic"), "hovernet-stpp")


@pytest.mark.parametrize(
    ("side", "levels", "patch"), [(2000, 9, 1024), (1024, 9, 1024), (360, 7, 384), (64, 5, 64), (9, 2, 10)]
)
def test_system_a_is_as_deep_as_the_images_allow(make_facts, side, levels, patch):
    """Nine encoder blocks and eight decoder blocks for patches of 1024 pixels."""
    plan, reasons = make_plan(make_facts(shape_median=(side, side)), "nnunet-weightmap")
    assert len(plan.network.features) == levels
    assert plan.training.patch_size == (patch, patch)
    if side < 1024:
        assert "the recipe's 1024x1024, but the median image" in reasons["training.patch_size"]
    given = parse_overrides(["training.patch_size=[1024, 1024]"])
    assert len(make_plan(make_facts(), "nnunet-weightmap", given)[0].network.features) == 9


def test_system_a_has_the_size_that_its_paper_prints(make_facts):
    """52.56 M parameters in table 4: nnU-Net's 32 channels, doubled up to 480."""
    facts = make_facts(shape_median=(1024, 1024), names=[("red", "green", "blue")] * 40)
    plan, _ = make_plan(facts, "nnunet-weightmap")
    found = cost(plan.network, 3, plan.representation.heads(2), plan.training.patch_size)
    assert found.parameters == pytest.approx(52.56e6, rel=5e-4)
    assert found.multiply_adds == pytest.approx(232.4e9, rel=1e-3)


def test_any_factor_on_the_intensities_cancels_in_system_a(make_facts):
    """The text scales to 0 to 255, the recipe to 0 to 1: the network gives the same."""
    plan, _ = make_plan(make_facts(), "nnunet-weightmap", parse_overrides(SMALL["nnunet-weightmap"]))
    assert plan.normalization.kind == "minmax"
    network = build_network(plan).eval()
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = network(image)[0]["classes"], network(255 * image)[0]["classes"]
    torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-3)


def test_system_a_halves_its_rate_five_times_and_twice_a_round(make_facts):
    training = make_plan(make_facts(), "nnunet-weightmap")[0].training
    epochs = [0, 199, 200, 400, 600, 800, 999]
    rates = [training.optimizer.learning_rate * rate_factor(training.schedule, e, 1000) for e in epochs]
    assert rates == pytest.approx([0.01, 0.01, 0.005, 0.0025, 0.00125, 0.000625, 0.000625])
    again = training.retraining
    assert again.share * 1000 == 200
    peak = training.optimizer.learning_rate * again.rate
    rates = [peak * rate_factor(again.schedule, epoch, 200) for epoch in (0, 99, 100, 199)]
    assert rates == pytest.approx([0.003, 0.003, 0.0015, 0.0015])


def test_the_frozen_stage_of_system_c_needs_weights(make_facts):
    plan, reasons = make_plan(make_facts(), "multihead-xception")
    assert plan.training.schedule.frozen == 0
    assert "starts from scratch" in reasons["training.schedule.frozen"]
    given = parse_overrides(["network.encoder_weights=xception.safetensors"])
    assert make_plan(make_facts(), "multihead-xception-only", given)[0].training.schedule.frozen == 0.25
    training = make_plan(make_facts(), "multihead-xception", given)[0].training
    # Epochs of 20: a quarter of the rate goes every three, and the second stage begins anew, ten times lower.
    rates = [1e-3 * rate_factor(training.schedule, epoch, 20) for epoch in (0, 3, 4, 5, 7, 8, 11, 19)]
    expected = [1e-3, 7.5e-4, 7.5e-4, 1e-4, 1e-4, 7.5e-5, 5.625e-5, 1e-4 * 0.75**4]
    assert rates == pytest.approx(expected)
    forced = make_plan(make_facts(), "multihead-xception", parse_overrides(["training.schedule.frozen=0.5"]))[
        0
    ]
    assert forced.training.schedule.frozen == 0.5


PERCENTILES = {
    "normalization.kind": "percentile",
    "normalization.low": 1.0,
    "normalization.high": 99.8,
}

NNUNETS_CHANGES = {
    "training.augmentation.flip": 0.5,
    "training.augmentation.rotate": 0.2,
    "training.augmentation.zoom": (0.7, 1.4),
    "training.augmentation.zoom_probability": 0.2,
    "training.augmentation.intensity": 0.15,
    "training.augmentation.gamma": 0.3,
    "training.augmentation.gamma_range": (0.7, 1.5),
    "training.augmentation.blur": 0.2,
    "training.augmentation.blur_px": (0.5, 1.0),
    "training.augmentation.low_resolution": 0.25,
    "training.augmentation.noise": 0.1,
}

HEADS_OF_C = {
    **PERCENTILES,
    "representation.kind": "shrunk_borders",
    "representation.shrink_px": 2.0,
    "representation.border_reach_px": 2.0,
    "representation.losses": "sum",
    "representation.decoder": "watershed",
    "representation.elevation": "nuclei",
    "network.activation": "selu",
    "training.optimizer.kind": "adam",
    "training.optimizer.learning_rate": 1e-3,
    "training.schedule.every": 0.15,
    "training.schedule.drop": 0.75,
    "training.augmentation.rotate": 0.5,
    "training.augmentation.flip": 0.5,
    "training.augmentation.shuffle": 0.2,
    "training.augmentation.zoom": (0.8, 1.25),
    "training.augmentation.zoom_probability": 0.3,
    "training.augmentation.shear": 0.3,
    "training.augmentation.intensity": 0.2,
    **{
        f"training.augmentation.{name}": 0.1
        for name in ("blur", "noise", "pixel_dropout", "emboss", "piecewise_affine", "perspective")
    },
    "training.augmentation.conglomerates": 0.1,
    "training.augmentation.copy_paste": 0.0,
    "training.augmentation.gamma": 0.0,
    "inference.mirror": "none",
    "inference.scorer": False,
}

PUBLISHED = {
    "nnunet-weightmap": {
        **NNUNETS_CHANGES,
        "training.augmentation.noise_range": (0.0, 0.06),
        "normalization.kind": "minmax",
        "representation.kind": "interior_boundary",
        "representation.boundary_px": 2.0,
        "representation.boundary_weight": 1.0,
        "representation.grow": True,
        "network.dropout": 0.05,
        "training.object_share": 0.33,
        "representation.weight_height": 10.0,
        "representation.weight_sigma_px": 5.0,
        "network.kind": "plain_unet",
        "network.norm": "instance",
        "network.activation": "leaky_relu",
        "network.init": "he",
        "network.deep_supervision": True,
        "training.optimizer.kind": "sgd",
        "training.optimizer.momentum": 0.99,
        "training.batch_size": 2,
        "inference.mirror": "all",
    },
    "resnet-unet-ohem": {
        **PERCENTILES,
        "representation.kind": "foreground",
        "representation.losses": "dice_and_hardest",
        "representation.hardest": 6000,
        "representation.hardest_weight": 1.0,
        "representation.split": "distance",
        "network.kind": "resnet_unet",
        "training.optimizer.kind": "adam",
        "training.optimizer.learning_rate": 1e-4,
        "training.schedule.every": 1.0,
        "training.object_share": 0.0,
        "training.augmentation.flip": 0.5,
        "training.augmentation.rotate": 0.5,
        "training.augmentation.zoom": (0.8, 1.25),
        "training.augmentation.zoom_probability": 0.5,
        **{f"training.augmentation.{name}": 0.0 for name in ("intensity", "gamma", "blur", "noise")},
        "inference.mirror": "none",
    },
    "stardist": {
        **PERCENTILES,
        "representation.kind": "star_convex",
        "representation.rays_per_sector": 8,
        "representation.distance_weight": 0.2,
        "representation.probability_threshold": 0.5,
        "representation.max_overlap": 0.4,
        "network.features": (32, 64, 128, 256),
        "training.optimizer.kind": "adam",
        "training.optimizer.learning_rate": 3e-4,
        "training.schedule.drop": 0.5,
        "training.batch_size": 4,
        "training.object_share": 0.9,
        "training.augmentation.flip": 0.5,
        "training.augmentation.quarter_turn": 0.75,
    },
    "multihead-plain": {
        **HEADS_OF_C,
        "network.kind": "plain_unet",
        "network.features": (64, 128, 256, 512, 1024),
        "network.norm": "batch",
        "network.init": "glorot",
        "network.deep_supervision": False,
    },
    "multihead-xception": {
        **HEADS_OF_C,
        "network.kind": "xception_unet",
        "network.inception": True,
        "network.se_ratio": 16,
        "training.schedule.thawed": 0.1,
    },
    "multihead-xception-only": {
        **HEADS_OF_C,
        "network.kind": "xception_unet",
        "network.inception": False,
        "network.se_ratio": 0,
        "training.schedule.thawed": 0.1,
    },
    "hovernet-stpp": {
        "normalization.kind": "minmax",
        "representation.kind": "hover",
        "representation.border_scale": "stretched",
        "representation.marker_threshold": 0.7,
        "representation.opening_px": 2,
        "representation.min_marker_px": 10,
        "representation.offset_weight": 1.0,
        "representation.gradient_weight": 144.0,
        "network.kind": "hovernet",
        "training.optimizer.kind": "adam",
        "training.optimizer.learning_rate": 1e-4,
        "training.schedule.every": 0.5,
        "training.schedule.drop": 0.1,
        "training.batch_size": 4,
        "training.snapshots": 3,
        "training.augmentation.flip": 0.5,
        "training.augmentation.quarter_turn": 0.5,
        "training.augmentation.gamma": 0.25,
        "training.augmentation.blur": 0.25,
        "training.augmentation.intensity": 0.0,
        "training.augmentation.noise": 0.25,
        "training.augmentation.noise_range": (0.0, 0.1),
        "training.augmentation.gamma_range": (1.0, 2.0),
        "training.augmentation.blur_px": (1.0, 2.0),
        "training.augmentation.histogram": 0.25,
        "training.augmentation.zoom": (0.8, 1.5),
        "training.augmentation.zoom_probability": 0.15,
    },
}
"""What the texts state, or what docs/systems.md says was chosen where they are silent."""


@each
def test_it_plans_what_its_text_states(make_facts, name):
    # Of sparse objects, for which the rules for `auto` would take another percentile.
    plan, _ = make_plan(make_facts(names=[("red", "green", "blue")] * 40, density=0.003), name)
    assert values_of(plan, PUBLISHED[name]) == PUBLISHED[name]


def values_of(plan: Plan, paths: Iterable[str]) -> dict[str, Any]:
    """What stands under dotted keys."""
    return {path: attrgetter(path)(plan) for path in paths}


ORGANS = {
    "ndim": 3,
    "task": "semantic",
    "classes": tuple(
        ClassFacts(name=name, label=label, n_images=5, n_whole=5, share=0.02)
        for label, name in enumerate(("liver", "kidney", "spleen", "pancreas"), 1)
    ),
    "class_intensities": ((-160.0, 240.0, 90.0, 45.0),),
    "spacing_um": (2500.0, 800.0, 800.0),
    "shape_median": (100, 512, 512),
}
"""The task of system E: abdominal CT."""


def test_system_e_is_planned_as_large_as_the_documentation_says(make_facts):
    plan, _ = make_plan(
        make_facts(**ORGANS), "nnunet-sdm", parse_overrides(["training.patch_size=[80, 192, 160]"])
    )
    found = cost(plan.network, 1, plan.representation.heads(3), plan.training.patch_size)
    assert found.parameters == 31_114_893
    assert found.multiply_adds == pytest.approx(657.8e9, rel=1e-3)
    own, _ = make_plan(make_facts(**ORGANS), "nnunet-sdm")
    assert own.training.patch_size == (32, 96, 96)
    assert own.inference.tile_size == (48, 144, 144)


def test_the_organ_recipe_plans_what_its_text_states(make_facts):
    plan, _ = make_plan(make_facts(**ORGANS), "nnunet-sdm")
    stated = {
        **NNUNETS_CHANGES,
        "training.augmentation.noise_range": (0.0, 0.3),
        "representation.kind": "class_distance",
        "representation.error": "l2",
        "representation.distance_weight": 1.0,
        "representation.reach_px": 16.0,
        "network.norm": "instance",
        "network.deep_supervision": True,
        "training.ema": 0.0,
        "training.calm_share": 0.0,
        "training.batch_size": 2,
        "training.optimizer.kind": "sgd",
        "training.optimizer.learning_rate": 0.01,
        "training.optimizer.momentum": 0.99,
        "training.schedule.kind": "poly",
        "training.schedule.power": 0.9,
        "inference.overlap": 0.5,
        "scaling.interpolation": "cubic",
    }
    assert values_of(plan, stated) == stated


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("resnet-unet-ohem", 14.2e6, 16.3e9),
        ("multihead-xception", 27.1e6, 8.0e9),
        ("multihead-xception-only", 36.1e6, 15.6e9),
        ("hovernet-stpp", 45.0e6, 262e9),
    ],
)
def test_networks_are_as_large_as_the_documentation_says(make_facts, name, parameters, multiply_adds):
    plan, _ = make_plan(make_facts(names=[("red", "green", "blue")] * 40), name)
    found = cost(plan.network, 3, plan.representation.heads(2), (256, 256))
    assert found.parameters == pytest.approx(parameters, abs=0.05e6)
    assert found.multiply_adds == pytest.approx(multiply_adds, rel=8e-3)
