from typing import Any

import pytest

from morula.errors import InputError
from morula.planning.fine_tune import GENTLE, MOST_STEPS, plan_from
from morula.planning.plan import Plan
from morula.planning.planner import make_plan, parse_overrides


@pytest.fixture
def base(make_facts) -> Plan:
    """A model for colour images with its own representation and network."""
    facts = make_facts(names=[("red", "green", "blue")] * 40)
    network = parse_overrides(["network.features=[16, 32, 64]", "network.blocks=[1, 1, 1]"])
    return make_plan(facts, "hover", network)[0]


def test_what_belongs_to_the_weights_is_kept(base, make_facts):
    plan, reasons = plan_from(base, make_facts(n_images=8))
    for key in ("ndim", "channels", "normalization", "representation", "network", "inference"):
        assert getattr(plan, key) == getattr(base, key), key
        assert reasons[key] == "belongs to the model's weights"
    assert plan.recipe == base.recipe == "hover"


def test_the_training_is_gentle_and_short(base, make_facts):
    facts = make_facts(n_images=1000)
    fresh = make_plan(facts)[0].training
    training = plan_from(base, facts)[0].training
    assert fresh.steps > MOST_STEPS
    assert training.steps == MOST_STEPS
    assert training.optimizer.learning_rate == pytest.approx(GENTLE * fresh.optimizer.learning_rate)
    assert training.validate_every == MOST_STEPS // 16
    # The moving average follows the shorter training.
    assert training.ema == pytest.approx(1 - 10 / MOST_STEPS, abs=1e-4)


@pytest.mark.parametrize(
    ("size", "factor"), [(20.0, 1.0), (14.0, 1.0), (29.0, 1.0), (40.0, 0.5), (31.0, 0.645), (10.0, 2.0)]
)
def test_objects_of_another_size_are_brought_to_the_size_that_the_model_knows(
    base, make_facts, size: float, factor: float
):
    plan, reasons = plan_from(base, make_facts(size=size))
    assert plan.scaling.factor == factor
    assert plan.scaling.diameter_px == base.scaling.diameter_px == 20.0
    assert ("brought to the 20 px" in reasons["scaling"]) == (factor != 1.0)


def test_a_model_with_a_physical_pixel_size_keeps_it(make_facts):
    spacing = {"spacing_um": (2.0, 0.5, 0.5)}
    base = make_plan(make_facts(ndim=3, **spacing))[0]
    assert base.scaling.kind == "spacing"
    plan, reasons = plan_from(base, make_facts(ndim=3, size=60.0, **spacing))
    assert plan.scaling == base.scaling
    assert reasons["scaling"] == "as the model was trained"


def test_overrides_win_over_what_the_weights_leave_open(base, make_facts):
    given = parse_overrides(
        ["training.steps=70", "training.optimizer.learning_rate=0.5", "inference.mirror=none"]
    )
    plan, _ = plan_from(base, make_facts(), given)
    assert plan.training.steps == 70
    assert plan.training.optimizer.learning_rate == 0.5
    assert plan.inference.mirror == "none"
    assert plan.inference.tile_size == base.inference.tile_size


@pytest.mark.parametrize(
    "given",
    [
        "network.norm=instance",
        "representation.kind=hover",
        'channels=["grey"]',
        "normalization.low=2.0",
        "ndim=3",
    ],
)
def test_what_the_weights_fix_cannot_be_set(base, make_facts, given: str):
    overrides: dict[str, Any] = parse_overrides([given])
    with pytest.raises(InputError, match=f"--set {next(iter(overrides))} does not go with --from"):
        plan_from(base, make_facts(), overrides)


def test_the_model_says_which_channels_there_are(base, make_facts):
    """Images whose names have nothing in common are no reason to refuse: the model's channels are picked."""
    facts = make_facts(names=[("red", "green", "blue", "dapi"), ("actin", "tubulin")], n_images=2)
    assert plan_from(base, facts)[0].channels == base.channels


def test_images_of_other_dimensions_are_refused(base, make_facts):
    with pytest.raises(InputError, match="3 spatial axes, the model 2; choose another model"):
        plan_from(base, make_facts(ndim=3))
