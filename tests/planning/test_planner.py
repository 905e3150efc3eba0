import pytest

from morula.errors import InputError
from morula.planning.plan import Plan
from morula.planning.planner import make_plan, merge, parse_overrides, read_recipe, recipes
from morula.spec import validate

NAMES = {
    "auto",
    "foreground",
    "hover",
    "interior-boundary",
    "shrunk-borders",
    "signed-distance",
    "star-convex",
}


def test_recipes_have_descriptions():
    assert set(recipes()) >= NAMES
    assert all(len(text) > 20 for text in recipes().values())
    assert "description" not in read_recipe("hover")


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(InputError, match=r"unknown recipe 'hoover'\. Did you mean 'hover'"):
        read_recipe("hoover")


def test_a_recipe_of_ones_own(tmp_path, make_facts):
    path = tmp_path / "mine.toml"
    path.write_text('description = "mine"\n[training]\nsteps = 7\n')
    plan, reasons = make_plan(make_facts(), str(path))
    assert plan.training.steps == 7
    assert "mine.toml" in reasons["training.steps"]


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_recipe_plans(make_facts, name, ndim):
    plan, reasons = make_plan(make_facts(ndim=ndim), name)
    assert plan.ndim == ndim
    assert plan.recipe == name
    assert plan.representation.kind == ("union" if name == "auto" else name.replace("-", "_"))
    divisors = plan.network.divisors(plan.ndim)
    assert all(side % step == 0 for side, step in zip(plan.training.patch_size, divisors, strict=True))
    assert len(plan.halo_px) == len(plan.inference.tile_size) == ndim
    assert reasons["representation"] == (
        "20% of the objects touch; the decoder is chosen on validation images"
        if name == "auto"
        else f"set by the recipe {name}"
    )


def test_saved_and_loaded(tmp_path, make_facts):
    plan, reasons = make_plan(make_facts())
    path = tmp_path / "plan.toml"
    path.write_text(plan.dumps(reasons))
    assert Plan.load(path) == plan
    assert Plan.load(path).hash == plan.hash
    text = path.read_text()
    assert "# the median object is 20 px across" in text
    assert all(reason in text for reason in reasons.values())


def test_overrides_win_over_recipe_over_rules(tmp_path, make_facts):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[training]\nsteps = 7\nbatch_size = 3\n")
    plan, reasons = make_plan(make_facts(), str(recipe), {"training": {"steps": 9}})
    assert (plan.training.steps, plan.training.batch_size) == (9, 3)
    assert reasons["training.steps"] == "set by --set"


def test_later_rules_see_what_was_given(make_facts):
    plan, _ = make_plan(make_facts(), "auto", parse_overrides(["training.patch_size=[64, 96]"]))
    assert plan.halo_px == (16, 24)
    plan, _ = make_plan(make_facts(), "auto", parse_overrides(["scaling.factor=0.5"]))
    assert plan.scaling.diameter_px == 10.0
    assert plan.training.patch_size == (128, 128)
    plan, _ = make_plan(
        make_facts(), "auto", parse_overrides(["network.features=[8, 16]", "network.blocks=[1, 1]"])
    )
    assert plan.network.divisors(2) == (4, 4)
    assert plan.network.kind == "residual_unet"


def test_part_of_a_table_may_be_given(make_facts):
    plan, reasons = make_plan(make_facts(), "auto", {"normalization": {"high": 99.0}})
    assert (plan.normalization.low, plan.normalization.high) == (1.0, 99.0)
    assert reasons["normalization"].endswith("high: set by --set")


def test_the_reason_of_a_rule_is_not_told_for_what_is_given(make_facts):
    assert "shrunk" in make_plan(make_facts(size=100.0), "auto")[1]["scaling"]
    _, reasons = make_plan(make_facts(size=100.0, density=0.003), "stardist")
    assert reasons["normalization"] == "set by the recipe stardist"
    assert (
        reasons["scaling"] == "the median object is 100 px across; kind, factor: set by the recipe stardist"
    )


def test_colour_images_are_augmented_in_colour(make_facts):
    plan, reasons = make_plan(make_facts(names=[("red", "green", "blue")] * 40))
    assert plan.training.augmentation.colour == 0.3
    assert "laboratories" in reasons["training.augmentation.colour"]
    assert make_plan(make_facts())[0].training.augmentation.colour == 0
    asked = make_plan(make_facts(), "auto", parse_overrides(["training.augmentation.colour=0.7"]))[0]
    assert asked.training.augmentation.colour == 0.7


def test_given_channels_need_no_common_name(make_facts):
    facts = make_facts(names=[("a", "b"), ("c", "d")], n_images=2)
    plan, reasons = make_plan(facts, "auto", {"channels": ["a"]})
    assert plan.channels == ("a",)
    assert reasons["channels"] == "set by --set"


def test_another_kind_replaces_the_table(make_facts):
    plan, _ = make_plan(make_facts(), "auto", {"representation": {"kind": "hover"}})
    assert plan.representation.kind == "hover"
    plan, _ = make_plan(make_facts(), "auto", {"normalization": {"kind": "zscore"}})
    assert plan.normalization.kind == "zscore"


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("trainin.steps=3", "unknown key 'trainin'.*training"),
        ("training.step=3", "unknown key 'training.step'.*steps"),
        ("training.augmentation.zom=[1, 1]", "zom.*zoom"),
        ("training.steps=fast", "training.steps = 'fast' must be a positive whole number"),
        ("training.patch_size=100", "training.patch_size = 100 must be 2 positive whole numbers"),
        ("training.patch_size=[100, 100]", r"must be multiples of \[32, 32\]"),
        ("representation.kind=hoover", "unknown representation 'hoover'.*hover"),
        ("network.kind=resnet", "unknown network 'resnet'"),
        ("network=3", "network = 3|a network is a table"),
        ("scaling=3", "scaling = 3 must be a table"),
        ("training=3", "training = 3 must be a table"),
        ("normalization.high=300", "normalization.high = 300"),
    ],
)
def test_bad_overrides_are_explained(make_facts, pair, message):
    with pytest.raises(InputError, match=message):
        make_plan(make_facts(), "auto", parse_overrides([pair]))


def test_parse_overrides():
    table = parse_overrides(["a.b=1.5", "a.c=[1, 2]", "d=true", "e=word", "f='quoted'", "g=a=b"])
    assert table == {"a": {"b": 1.5, "c": [1, 2]}, "d": True, "e": "word", "f": "quoted", "g": "a=b"}


@pytest.mark.parametrize("pairs", [["steps"], ["=3"], ["a..b=3"], ["a=3", "a.b=3"]])
def test_parse_overrides_refuses(pairs):
    with pytest.raises(InputError, match="--set"):
        parse_overrides(pairs)


def test_merge_leaves_its_arguments():
    base = {"a": {"b": 1, "c": 2}}
    assert merge(base, {"a": {"b": 5}, "d": 3}) == {"a": {"b": 5, "c": 2}, "d": 3}
    assert base == {"a": {"b": 1, "c": 2}}


def test_same_facts_same_plan(make_facts):
    assert make_plan(make_facts())[0].hash == make_plan(make_facts())[0].hash
    with_ceilings = make_plan(make_facts(touching=0.5))[0]
    assert with_ceilings.hash == make_plan(make_facts())[0].hash


def test_the_plan_refuses_unknown_keys(make_facts):
    table = make_plan(make_facts())[0].model_dump()
    with pytest.raises(InputError, match=r"halo.*halo_px"):
        validate(Plan, {**table, "halo": 3})
