"""The groups of `ablations.py`: variants of one small network, as overrides of a recipe."""

from dataclasses import dataclass

from morula.planning.retraining import Method

PACE = (
    'training.optimizer={kind="adamw", learning_rate=0.002}',
    'training.schedule={kind="cosine"}',
    "inference.mirror=none",
)
"""The same for every group: what the recipes say here needs more steps than there are."""

PATCHES = ("training.patch_size=[128, 128]", "training.batch_size=8")

UNET = 'network={kind="plain_unet", features=[16, 32, 64, 128], norm="batch", deep_supervision=false}'
"""The small U-Net, 0.5 million parameters."""

UNET_3D = (
    'network={kind="plain_unet", features=[16, 32, 64], strides=[[2, 2, 2], [2, 2, 2]],'
    " kernels=[[3, 3, 3], [3, 3, 3], [3, 3, 3]]}"
)

HIPPOCAMPUS = ("task=semantic", "classes.anterior=1", "classes.posterior=2")


@dataclass(frozen=True)
class Variant:
    """One row of a table."""

    name: str
    overrides: tuple[str, ...] = ()
    recipe: str = ""
    """In place of the group's."""

    longer: int = 1
    """Factor on the number of steps."""

    method: Method | None = None
    """How a student of the group's teacher is trained; None: no student."""

    rounds: int = 2
    """Of self-training."""


@dataclass(frozen=True)
class Group:
    """One table."""

    name: str
    recipe: str
    overrides: tuple[str, ...]
    variants: tuple[Variant, ...]
    """The first is the baseline."""

    steps: int = 1000
    teacher: bool = False
    """Whether only some images are labelled, and a teacher learns from these."""

    organs: bool = False
    """Whether it is about classes."""


def _rounds(count: int) -> Variant:
    """Students that are together trained as long as their teacher was."""
    name = f"{count}-rounds" if count > 1 else "1-round"
    return Variant(name, (f"training.retraining.share={1 / count:.4f}",), method="iterative", rounds=count)


GROUPS = (
    Group(
        "loss",
        "multihead-plain",
        (UNET, *PATCHES),
        (
            Variant("cross-entropy", ("representation.losses=cross_entropy",)),
            Variant("dice", ("representation.losses=dice",)),
            Variant("sum", ("representation.losses=sum",)),
        ),
    ),
    # Not a part of a published system: whether training in bfloat16 costs anything.
    Group(
        "precision",
        "multihead-plain",
        (UNET, *PATCHES),
        (
            Variant("float32", ("training.precision=float32",)),
            Variant("bfloat16", ("training.precision=bfloat16",)),
        ),
        steps=400,
    ),
    Group(
        "weight-map",
        "nnunet-weightmap",
        (UNET, *PATCHES),
        (
            Variant("off", ("representation.weight_map=false",)),
            Variant("on", ("representation.weight_map=true",)),
        ),
    ),
    Group(
        "sdm",
        "nnunet-sdm",
        (*HIPPOCAMPUS, UNET_3D, "training.patch_size=[32, 48, 32]"),
        (
            Variant("off", ("representation.distance=false",)),
            Variant("on", ("representation.distance=true",)),
        ),
        organs=True,
    ),
    Group(
        "st++",
        "nnunet-weightmap",
        (UNET, *PATCHES, "representation.weight_map=false"),
        (
            Variant("iterative", ("training.retraining.share=1",), method="iterative"),
            Variant("st++", method="st++"),
            Variant("supervised", longer=3),
        ),
        steps=600,
        teacher=True,
    ),
    Group(
        "rounds",
        "nnunet-weightmap",
        (UNET, *PATCHES, "representation.weight_map=false"),
        (Variant("supervised", longer=2), _rounds(1), _rounds(2), _rounds(3)),
        steps=600,
        teacher=True,
    ),
    Group(
        "ohem",
        "resnet-unet-ohem",
        (UNET, *PATCHES),
        (
            Variant("dice", ("representation.losses=dice",)),
            Variant("dice-and-top-10", ("representation.hardest=0.1",)),
            Variant("top-10", ("representation.losses=hardest", "representation.hardest=0.1")),
            Variant("top-20", ("representation.losses=hardest", "representation.hardest=0.2")),
            Variant("top-50", ("representation.losses=hardest", "representation.hardest=0.5")),
            Variant("all-pixels", ("representation.losses=cross_entropy",)),
        ),
    ),
    Group(
        "encoder",
        "multihead-plain",
        PATCHES,
        (
            Variant("plain", ("network.features=[16, 32, 64, 128, 256]",)),
            Variant("xception", ("network.width=0.25",), "multihead-xception-only"),
            Variant("inception-se", ("network.width=0.25",), "multihead-xception"),
        ),
    ),
)
"""In the order in which they are trained."""
