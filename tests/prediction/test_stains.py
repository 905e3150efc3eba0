from dataclasses import replace

import numpy as np
import pytest

from echo import echo_plan
from morula.data.sample import RGB, Image
from morula.planning.plan import Plan
from morula.prediction.scale import Look
from morula.prediction.stains import shining, stain_of


def knows_stains(chance: float = 0.2) -> Plan:
    plan = echo_plan()
    augmentation = plan.training.augmentation.model_copy(update={"pseudo_colour": chance})
    training = plan.training.model_copy(update={"augmentation": augmentation})
    return plan.model_copy(update={"training": training, "channels": RGB})


def composite(background: int = 10) -> Image:
    """Something in green and blue on a background; nothing in red."""
    pixels = np.full((3, 40, 50), background, np.uint8)
    pixels[0] = 0
    pixels[1, 5:25, 5:30] = 200
    pixels[2, 10:20, 10:20] = 240
    return Image(pixels, RGB)


def sees(sureness: dict[tuple[str, ...], float | None], asked: list[tuple[str, ...]] | None = None):
    """A model that is so sure of what it finds in these channels."""

    def look(image: Image) -> Look | None:
        if asked is not None:
            asked.append(image.channels)
        value = sureness[image.channels]
        return None if value is None else Look(1.0, 12.0, value)

    return look


@pytest.mark.parametrize(
    ("whole", "green", "blue", "expected"),
    [
        (0.45, 0.49, 0.84, "blue"),
        (0.45, 0.84, 0.49, "green"),
        # Not so much surer, or not sure.
        (0.78, 0.49, 0.84, None),
        (0.30, 0.20, 0.55, None),
        (0.0, 0.0, 0.0, None),
        (0.45, None, 0.84, "blue"),
        (None, 0.84, 0.84, None),
    ],
)
def test_the_colour_in_which_the_model_is_much_surer_is_taken(
    whole: float | None, green: float | None, blue: float | None, expected: str | None
):
    look = sees({RGB: whole, ("green",): green, ("blue",): blue})
    assert stain_of(composite(), knows_stains(), look) == expected


def test_only_a_model_that_knows_stains_is_asked():
    asked: list[tuple[str, ...]] = []
    look = sees({RGB: 0.4, ("green",): 0.4, ("blue",): 0.9}, asked)
    assert stain_of(composite(), knows_stains(0.0), look) is None
    assert stain_of(composite(), replace_ndim(knows_stains()), look) is None
    named = replace(composite(), channels=("dapi", "actin", "tubulin"))
    assert stain_of(named, knows_stains(), look) is None
    assert asked == []
    assert stain_of(composite(), knows_stains(), look) == "blue"
    assert asked == [RGB, ("green",), ("blue",)]


def replace_ndim(plan: Plan) -> Plan:
    return plan.model_copy(update={"ndim": 3})


def test_colours_shine_on_dark_or_not_at_all():
    assert shining(composite().pixels) == [1, 2]
    # Stained tissue in white light.
    assert shining(255 - composite().pixels) == ()
    grey = np.repeat(composite().pixels[1:2], 3, 0)
    assert shining(grey) == shining(np.broadcast_to(grey[:1], grey.shape)) == ()
    tinted = (grey * np.array([0.0, 0.5, 1.0])[:, None, None]).astype(np.uint8)
    assert shining(tinted) == ()
    assert shining(np.zeros((3, 8, 8), np.uint8)) == ()
