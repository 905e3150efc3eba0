"""What is decided for classes, and which recipes are refused."""

from collections.abc import Callable

import pytest

from morula.errors import InputError
from morula.planning.class_rules import unet_grids
from morula.planning.classes import ClassFacts
from morula.planning.fingerprint import Fingerprint
from morula.planning.planner import make_plan, parse_overrides


@pytest.fixture
def organs(make_facts: Callable[..., Fingerprint]) -> Callable[..., Fingerprint]:
    """A plausible fingerprint of abdominal volumes with liver, spleen and kidneys."""

    def make(names: tuple[str, ...] = ("liver", "kidneys"), **changes) -> Fingerprint:
        classes = tuple(
            ClassFacts(name=name, label=3 * index + 1, n_images=5, n_whole=5 - index, share=0.02)
            for index, name in enumerate(names)
        )
        table = {
            "ndim": 3,
            "task": "semantic",
            "classes": classes,
            "class_intensities": ((-160.0, 240.0, 90.0, 45.0),),
            "spacing_um": (5000.0, 800.0, 800.0),
            "shape_median": (60, 256, 256),
            **changes,
        }
        return make_facts(**table)

    return make


def test_the_recipe_is_what_the_paper_says(organs: Callable[..., Fingerprint]) -> None:
    plan, _ = make_plan(organs(), "nnunet-sdm")
    assert (plan.task, plan.classes) == ("semantic", {"liver": 1, "kidneys": 4})
    assert plan.scaling.kind == "spacing"
    assert plan.scaling.spacing_um == (5000.0, 800.0, 800.0)
    assert plan.scaling.interpolation == "cubic"
    optimizer, schedule = plan.training.optimizer, plan.training.schedule
    assert (optimizer.kind, optimizer.learning_rate, optimizer.momentum) == ("sgd", 0.01, 0.99)
    assert (schedule.kind, schedule.power, schedule.warmup) == ("poly", 0.9, 0.0)
    assert (plan.training.batch_size, plan.training.steps) == (2, 100 * 250)
    assert plan.training.object_share >= 1 / 3
    assert plan.representation.model_dump()["error"] == "l2"
    assert plan.representation.model_dump()["distance"] is True
    assert plan.network.kind == "plain_unet"
    assert plan.network.divisors(3)[0] < plan.network.divisors(3)[1]


def test_classes_whole_in_all_labels_keep_their_largest_piece(organs: Callable[..., Fingerprint]) -> None:
    plan, reasons = make_plan(organs(), "nnunet-sdm")
    assert plan.representation.model_dump()["keep_largest"] == (1,)
    assert "kept in one: liver" in reasons["representation"]
    off, _ = make_plan(organs(), "nnunet-sdm", parse_overrides(["representation.keep_largest=[]"]))
    assert off.representation.model_dump()["keep_largest"] == ()


def test_ct_has_a_fixed_scale_and_mr_has_none(organs: Callable[..., Fingerprint]) -> None:
    plan, _ = make_plan(organs(), "nnunet-sdm")
    assert plan.normalization.kind == "zscore"
    tomography = organs(names=("liver",), n_images=3)
    images = tuple(item.model_copy(update={"channels": ("CT",)}) for item in tomography.images)
    plan, reasons = make_plan(tomography.model_copy(update={"images": images}), "nnunet-sdm")
    assert plan.normalization.kind == "fixed"
    assert plan.normalization.fixed == ((-160.0, 240.0, 90.0, 45.0),)
    assert "0.5 and 99.5 percentile" in reasons["normalization"]
    asked = parse_overrides(["normalization.kind=fixed"])
    assert make_plan(organs(), "nnunet-sdm", asked)[0].normalization.fixed == ((-160.0, 240.0, 90.0, 45.0),)
    with pytest.raises(InputError, match="same channels in all images"):
        make_plan(organs(class_intensities=()), "nnunet-sdm", asked)


def test_classes_with_a_side_are_not_mirrored(organs: Callable[..., Fingerprint]) -> None:
    plan, reasons = make_plan(organs(names=("liver", "left kidney")), "nnunet-sdm")
    assert plan.training.augmentation.flip == 0
    assert plan.inference.mirror == "none"
    assert "'left kidney' names a side" in reasons["inference.mirror"]
    assert make_plan(organs(), "nnunet-sdm")[0].inference.mirror == "all"


@pytest.mark.parametrize(
    ("name", "sided"),
    [
        *((name, True) for name in ("kidney_left", "left_kidney", "KidneyLeft", "Kidney (R)", "lung_r")),
        *((name, False) for name in ("bright", "vertebra_L1", "colon", "lobe", "LAD")),
    ],
)
def test_a_side_is_known_however_it_is_written(
    name: str, sided: bool, organs: Callable[..., Fingerprint]
) -> None:
    plan, _ = make_plan(organs(names=("liver", name)), "nnunet-sdm")
    assert plan.inference.mirror == ("none" if sided else "all")


def test_auto_plans_classes_too(organs: Callable[..., Fingerprint]) -> None:
    plan, _ = make_plan(organs(), "auto")
    assert (plan.task, plan.representation.kind, plan.network.kind) == (
        "semantic",
        "class_distance",
        "residual_unet",
    )
    assert plan.training.augmentation.copy_paste == 0


@pytest.mark.parametrize("name", ["copy_paste", "conglomerates"])
def test_objects_are_not_pasted_into_classes(name: str, organs: Callable[..., Fingerprint]) -> None:
    overrides = {"training": {"augmentation": {name: 0.1}}}
    with pytest.raises(InputError, match=f"augmentation.{name} moves objects"):
        make_plan(organs(), "auto", overrides)


def test_unknown_pixel_sizes_leave_the_grid_alone(organs: Callable[..., Fingerprint]) -> None:
    plan, _ = make_plan(organs(spacing_um=None), "nnunet-sdm")
    assert (plan.scaling.kind, plan.scaling.factor) == ("native", 1.0)


@pytest.mark.parametrize("recipe", ["hover", "star-convex"])
def test_recipes_for_objects_are_refused_on_classes(recipe: str, organs: Callable[..., Fingerprint]) -> None:
    with pytest.raises(InputError, match=rf"classes \(organs\), {recipe} is for single objects.*nnunet-sdm"):
        make_plan(organs(), recipe)


def test_the_recipe_for_classes_is_refused_on_objects(make_facts: Callable[..., Fingerprint]) -> None:
    with pytest.raises(
        InputError, match=r"single objects, nnunet-sdm is for classes.*auto, .*hover"
    ) as caught:
        make_plan(make_facts(task="instances"), "nnunet-sdm")
    assert "nnunet-sdm" not in str(caught.value).split("fit: ")[1]


def test_nothing_is_guessed_where_the_data_do_not_say(make_facts: Callable[..., Fingerprint]) -> None:
    with pytest.raises(InputError, match=r'task = "semantic".*--set task=semantic.*auto'):
        make_plan(make_facts(), "nnunet-sdm")
    plan, reasons = make_plan(make_facts(), "auto")
    assert plan.task == "instances"
    assert "does not say otherwise" in reasons["task"]


def test_grids_of_the_papers_patch() -> None:
    strides, kernels = unet_grids((80, 192, 160), (2.5, 0.8, 0.8))
    assert strides == ((1, 2, 2), *((2, 2, 2),) * 4)
    assert kernels == ((1, 3, 3), *((3, 3, 3),) * 5)


def test_grids_of_small_and_flat_patches() -> None:
    assert unet_grids((40, 56, 40), (1, 1, 1)) == (((2, 2, 2),) * 3, ((3, 3, 3),) * 4)
    strides, _ = unet_grids((4, 64, 64), (1, 1, 1))
    assert {stride[0] for stride in strides} == {1}
    assert unet_grids((4, 4), (1, 1)) == (((2, 2),), ((3, 3),) * 2)
