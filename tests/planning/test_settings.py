import pytest

from morula.errors import InputError
from morula.planning.planner import merge, parse_overrides, read_recipe, recipes
from morula.planning.settings import check_settings


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("trainin.steps=3", r"unknown key 'trainin'.*Did you mean 'training'"),
        ("training.step=3", r"unknown key 'training\.step'.*Did you mean 'steps'"),
        ("training.augmentation.zom=[1, 1]", "Did you mean 'zoom'"),
        ("training.steps=fast", r"training\.steps = 'fast'"),
        ("training.steps=0", r"training\.steps = 0"),
        ("training.patch_size=100", r"training\.patch_size = 100"),
        ("normalization.high=300", r"normalization\.high = 300"),
        ("training=3", "training = 3"),
        ("network=3", "network = 3 must be a table"),
        ("network.kind=resnet99", "unknown network 'resnet99'"),
        ("network.featurs=[8, 16]", r"unknown key 'network\.featurs'.*Did you mean 'features'"),
        ("network.features=wide", r"network\.features = 'wide'"),
        ("representation.kind=hoover", "unknown representation 'hoover'.*Did you mean 'hover'"),
        ("representation.decoderr=borders", r"'representation\.decoderr'.*Did you mean 'decoder'"),
        ("representation.parts.borders.min_object=3", r"'representation\.parts\.borders\.min_object'"),
        ("representation.parts.new.kind=hoover", "unknown representation.*Did you mean 'hover'"),
        ("network.encoder_weights=none.safetensors", r"'none\.safetensors': there is no such file"),
    ],
)
def test_what_no_data_can_make_right_is_told_without_data(pair, message):
    with pytest.raises(InputError, match=message):
        check_settings(merge(read_recipe("auto"), parse_overrides([pair])))


@pytest.mark.parametrize(
    "pair",
    [
        "training.steps=3",
        "training.patch_size=[64, 64, 64]",
        "scaling.factor=0.5",
        "network.features=[8, 16]",
        "network.stem=1",
        "network.kind=plain_unet",
        "normalization.kind=zscore",
        "representation.kind=hover",
        "representation.decoder=borders",
        "representation.parts.borders.min_object_px=3",
        'channels=["dapi"]',
    ],
)
def test_what_the_data_may_make_right_passes(pair):
    check_settings(merge(read_recipe("auto"), parse_overrides([pair])))


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_every_recipe_passes(recipe):
    check_settings(read_recipe(recipe))


def test_every_wrong_key_is_named():
    with pytest.raises(InputError, match=r"stepz.*batchsize"):
        check_settings(parse_overrides(["training.stepz=3", "training.batchsize=2"]))
