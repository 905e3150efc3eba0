"""Every representation, one file each; list yours in `BUILT_IN`."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from morula.representations.base import Head, Representation, Task, decode_to_shape, mirror, mirror_channels
from morula.spec import build, look_up

BUILT_IN: dict[str, str] = {
    "class_distance": "morula.representations.class_distance:ClassDistance",
    "foreground": "morula.representations.foreground:Foreground",
    "hover": "morula.representations.hover:HoVer",
    "interior_boundary": "morula.representations.interior_boundary:InteriorBoundary",
    "shrunk_borders": "morula.representations.shrunk_borders:ShrunkBorders",
    "signed_distance": "morula.representations.signed_distance:SignedDistance",
    "star_convex": "morula.representations.star_convex:StarConvex",
    "union": "morula.representations.union:Union",
}
"""``kind`` to ``"module:Class"``; another installed package is named the same way in the plan."""


def read_representation(value: Any) -> Representation:
    """A representation from the table of a plan file.

    Raises:
        InputError: The kind, a key or a value is unknown.
    """
    return build(value, BUILT_IN, Representation, "representation")


def task_of(kind: str) -> Task:
    """What the labels of representations of this kind mean.

    Raises:
        InputError: The kind is unknown.
    """
    return look_up(kind, BUILT_IN, Representation, "representation").task


AnyRepresentation = Annotated[SerializeAsAny[Representation], BeforeValidator(read_representation)]
"""The type of a field that holds a representation."""

__all__ = [
    "BUILT_IN",
    "AnyRepresentation",
    "Head",
    "Representation",
    "Task",
    "decode_to_shape",
    "mirror",
    "mirror_channels",
    "read_representation",
    "task_of",
]
