import re

import pytest
from pydantic import ValidationError

from morula.errors import InputError
from morula.planning.plan import Augmentation, Plan
from morula.planning.planner import make_plan


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def plan(request, make_facts) -> Plan:
    return make_plan(make_facts(ndim=request.param))[0]


def test_loads_what_it_saved(tmp_path, plan):
    path = tmp_path / "plan.toml"
    path.write_text(plan.dumps())
    assert Plan.load(path) == plan


def test_hash_changes_with_a_decision_only(plan):
    again = Plan.model_validate(plan.model_dump())
    assert again.hash == plan.hash
    training = plan.training.model_copy(update={"seed": 1})
    assert plan.model_copy(update={"training": training}).hash != plan.hash
    assert len(plan.hash) == 12


def test_working_spacing(plan):
    assert plan.working_spacing == (1.0,) * plan.ndim
    spacing = tuple(0.5 for _ in range(plan.ndim))
    scaling = plan.scaling.model_copy(update={"kind": "spacing", "spacing_um": spacing})
    assert plan.model_copy(update={"scaling": scaling}).working_spacing == spacing


def test_load_explains(tmp_path, plan):
    with pytest.raises(InputError, match="does not exist"):
        Plan.load(tmp_path / "plan.toml")
    path = tmp_path / "plan.toml"
    path.write_text("ndim = ")
    with pytest.raises(InputError, match="is not a TOML file"):
        Plan.load(path)
    path.write_text(plan.dumps().replace("halo_px", "halo"))
    with pytest.raises(InputError, match=r"unknown key 'halo'.*halo_px"):
        Plan.load(path)


@pytest.mark.parametrize("key", ["steps", "ema"])
def test_true_is_no_number(tmp_path, plan, key):
    (tmp_path / "plan.toml").write_text(re.sub(rf"(?m)^{key} = .*$", f"{key} = true", plan.dumps()))
    with pytest.raises(InputError, match=f"{key} = True: true and false do not fit"):
        Plan.load(tmp_path / "plan.toml")


@pytest.mark.parametrize("key", ["halo_px", "patch_size", "tile_size"])
def test_sizes_have_one_number_per_axis(tmp_path, plan, key):
    """A plan may be edited: what is wrong is said when it is read, not by torch."""
    text = re.sub(rf"{key} = \[.*\]", f"{key} = {[64] * (5 - plan.ndim)}", plan.dumps())
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(InputError, match=f"{key} = .* must be {plan.ndim} positive numbers"):
        Plan.load(tmp_path / "plan.toml")


@pytest.mark.parametrize("key", ["halo_px", "patch_size", "tile_size"])
def test_no_size_is_zero(tmp_path, plan, key):
    text = re.sub(rf"{key} = \[.*\]", f"{key} = {[0] + [64] * (plan.ndim - 1)}", plan.dumps())
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(InputError, match=f"{key} = .* must be {plan.ndim} positive numbers"):
        Plan.load(tmp_path / "plan.toml")


def test_the_patch_fits_the_network(tmp_path, plan):
    text = re.sub(r"patch_size = \[.*\]", f"patch_size = {[50] * plan.ndim}", plan.dumps())
    (tmp_path / "plan.toml").write_text(text)
    divisors = list(plan.network.divisors(plan.ndim))
    with pytest.raises(InputError, match=re.escape(f"must be multiples of {divisors}")):
        Plan.load(tmp_path / "plan.toml")


@pytest.mark.parametrize("name", ["zoom", "zoom_to_px", "gamma_range", "blur_px", "noise_range"])
def test_a_range_rises(name: str) -> None:
    assert getattr(Augmentation(**{name: (1.0, 1.0)}), name) == (1, 1)
    with pytest.raises(ValidationError, match="lower end first"):
        Augmentation(**{name: (3.0, 1.0)})
    with pytest.raises(ValidationError):
        Augmentation(zoom=(0.0, 1.0))
