import math

import pytest

from morula.errors import InputError
from morula.planning import rules

RGB = ("red", "green", "blue")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([("grey",)] * 3, ("grey",)),
        ([("dapi", "actin")] * 3, ("dapi", "actin")),
        ([("grey",), RGB, ("grey",)], RGB),
        ([RGB, (*RGB, "alpha")], RGB),
        ([(*RGB, "alpha")] * 2, RGB),
        ([("dapi",), ("channel 0",), ("dapi",)], ("dapi",)),
        ([("dapi", "actin"), ("tubulin", "dapi")], ("dapi",)),
    ],
)
def test_channels(make_facts, names, expected):
    decision = rules.channels(make_facts(names=names, n_images=len(names)))
    assert decision.value == expected
    assert decision.reason


def test_channels_without_a_common_name(make_facts):
    with pytest.raises(InputError, match=r"no name in common.*dataset\.toml"):
        rules.channels(make_facts(names=[("a", "b"), ("c", "d")], n_images=2))


@pytest.mark.parametrize(("size", "factor"), [(20.0, 1.0), (64.0, 1.0), (100.0, 0.4), (8.0, 2.0)])
def test_scaling_by_object_size(make_facts, size, factor):
    value = rules.scaling(make_facts(size=size)).value
    assert value["kind"] == "native"
    assert value["factor"] == pytest.approx(factor)
    assert value["diameter_px"] == pytest.approx(size * factor)


def test_scaling_by_spacing(make_facts):
    same = make_facts(ndim=3, spacing_um=(1.0, 1.0, 1.0))
    assert rules.scaling(same).value["kind"] == "native"
    flat = rules.scaling(make_facts(ndim=3, spacing_um=(7.7, 1.25, 1.25))).value
    assert flat["spacing_um"] == (7.7, 1.25, 1.25)
    mixed = rules.scaling(make_facts(size=100.0, spacing_um=(0.5, 0.5), spacing_spread=2.0))
    assert mixed.value["spacing_um"] == (1.25, 1.25)
    assert "x2.00 between images" in mixed.reason


def test_scaling_needs_objects(make_facts):
    empty = make_facts(image_diameter_px={"n": 0})
    with pytest.raises(InputError, match="hold no object"):
        rules.scaling(empty)


def test_working_zoom(make_facts):
    facts = make_facts(spacing_um=(0.5, 0.25))
    assert rules.working_zoom(facts, {"kind": "native", "factor": 0.5}) == (0.5, 0.5)
    assert rules.working_zoom(facts, {"kind": "spacing", "spacing_um": (1.0, 1.0)}) == (0.5, 0.25)


def test_normalization_of_sparse_images(make_facts):
    assert rules.normalization(make_facts()).value["high"] == 99.8
    assert rules.normalization(make_facts(density=0.001)).value["high"] == 99.98


def test_network(make_facts):
    assert rules.network(make_facts(), (1.0, 1.0)).value["features"] == rules.FEATURES[2, 2]
    small = rules.network(make_facts(shape_median=(30, 30)), (1.0, 1.0)).value
    assert small["stem"] == 1
    assert len(small["features"]) == len(small["blocks"])
    assert rules.network(make_facts(ndim=3), (1.0, 1.0, 1.0)).value["stem"] == 1


def test_patch_size(make_facts):
    def patch(zoom: float = 1.0, **changes):
        return rules.patch_size(make_facts(**changes), (zoom, zoom), (16, 16), (1.0, 1.0)).value

    assert patch() == (256, 256)
    assert patch(shape_median=(100, 300)) == (112, 256)
    assert patch(size=60.0, shape_median=(2000, 2000)) == (368, 368)
    assert patch(size=300.0, shape_median=(2000, 2000)) == (512, 512)
    assert patch(zoom=0.5) == (128, 128)


def test_patch_size_3d_spends_its_voxels(make_facts):
    facts = make_facts(ndim=3, shape_median=(200, 200, 200))
    ones = (1.0, 1.0, 1.0)
    assert rules.patch_size(facts, ones, (16,) * 3, ones).value == (64, 64, 64)
    flat = rules.patch_size(facts, ones, (16,) * 3, (4.0, 1.0, 1.0)).value
    assert flat[0] < flat[1] == flat[2]
    thin = rules.patch_size(make_facts(ndim=3, shape_median=(16, 200, 200)), ones, (16,) * 3, ones).value
    assert thin == (16, 128, 128)
    tiny = rules.patch_size(make_facts(ndim=3, shape_median=(10, 12, 14)), ones, (8,) * 3, ones).value
    assert tiny == (16, 16, 16)


def test_batch_size():
    assert rules.batch_size((256, 256)).value == 8
    assert rules.batch_size((512, 512)).value == 2
    assert rules.batch_size((64, 64)).value == 16
    assert rules.batch_size((64, 64, 64)).value == 2


def test_halo(make_facts):
    assert rules.halo(make_facts(), (1.0, 1.0), (256, 256)).value == (40, 40)
    assert rules.halo(make_facts(), (0.5, 1.0), (256, 128)).value == (20, 32)


def test_steps_and_what_follows(make_facts):
    def steps(n_images: int) -> int:
        return rules.steps(make_facts(n_images=n_images), (1.0, 1.0), (256, 256), 8).value

    assert steps(10) == 1500
    assert steps(666) == 3300
    assert steps(20000) == 12000
    assert rules.averaging(300).value == pytest.approx(0.9667)
    assert rules.averaging(100_000).value == 0.999
    assert rules.averaging(5).value == 0.0
    assert rules.validate_every(8000).value == 500
    assert rules.validate_every(10).value == 50


def test_precision(make_facts):
    assert rules.precision(make_facts()).value == "float32"
    assert rules.precision(make_facts(bfloat16=True)).value == "bfloat16"


def test_tile_size(make_facts):
    assert rules.tile_size(make_facts(), (256, 256), (16, 16)).value == (512, 512)
    assert rules.tile_size(make_facts(), (256, 1024), (24, 24)).value == (528, 1024)
    assert rules.tile_size(make_facts(), (256, 256), (32, 32), light=True).value == (1024, 1024)
    assert rules.tile_size(make_facts(ndim=3), (40, 64, 64), (4, 8, 8)).value == (60, 96, 96)


def test_augmentation_follows_the_data(make_facts, make_modality):
    assert rules.invert(make_facts()).value == 0
    both = rules.invert(make_facts(modalities=(make_modality("fluorescence", 3), make_modality("pink", -2))))
    assert both.value > 0
    assert "bright in fluorescence and dark in pink" in both.reason
    assert rules.shuffle(RGB).value > 0
    assert rules.shuffle(("dapi", "actin", "tubulin")).value == 0
    assert rules.colour(RGB).value == 0.3
    assert rules.colour(("grey",)).value == rules.colour(("dapi", "actin", "tubulin")).value == 0
    assert rules.pseudo_colour(make_facts(), ("grey",)).value == 0
    assert rules.pseudo_colour(make_facts(names=[RGB] * 2, n_images=2), RGB).value == 0
    assert rules.pseudo_colour(make_facts(names=[("grey",), RGB], n_images=2), RGB).value > 0
    assert rules.copy_paste(make_facts()).value == 0
    assert rules.copy_paste(make_facts(n_images=10)).value > 0


@pytest.mark.parametrize(
    ("p5", "p95", "expected"),
    [
        (20.0, 20.0, (0.8, 1.25)),
        (10.0, 25.6, (0.62, 1.6)),
        (10.0, 40.0, (0.5, 2.0)),
        (10.0, 90.0, (0.33, 2.0)),
        (10.0, 160.0, (0.25, 2.0)),
        (5.0, 500.0, (0.25, 2.0)),
        (0.0, 16.0, (0.25, 2.0)),
    ],
)
def test_zoom_follows_how_much_sizes_differ(make_facts, p5, p95, expected):
    facts = make_facts(image_diameter_px={"n": 5, "p5": p5, "p50": p5, "p95": p95})
    assert rules.zoom_range(facts).value == expected


def test_representation_reports_ceilings(make_facts):
    assert rules.representation(make_facts()).value["kind"] == "union"
    row = {
        "representation": "hover",
        "ap50": 1,
        "ap75": 1,
        "ap90": 1,
        "dsb_score": 0.951,
        "ms_per_megapixel": 9,
    }
    assert "hover 0.951" in rules.representation(make_facts(ceilings=(row,))).reason


def test_every_value_is_plain(make_facts):
    patch = rules.patch_size(make_facts(ndim=3), (0.7, 0.7, 0.7), (8,) * 3, (1.0, 1.0, 1.0)).value
    assert all(type(side) is int for side in patch)
    assert type(rules.steps(make_facts(), (0.7, 0.7), (256, 256), 8).value) is int
    assert math.isfinite(rules.averaging(1).value)
