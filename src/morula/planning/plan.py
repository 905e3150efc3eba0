"""The plan: every decision that training and prediction need, and no other."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from morula.networks import AnyNetwork
from morula.representations import AnyRepresentation, Task
from morula.spec import Spec, dump_toml, load


class Normalization(Spec, frozen=True):
    """How intensities become network input, per image and channel."""

    kind: Literal["percentile", "zscore", "minmax", "fixed"] = "percentile"
    """``percentile``: `low` to 0 and `high` to 1; ``zscore``: mean 0, deviation 1; ``minmax``: 0 to 1.

    These are measured on each image; ``fixed`` is the same for all, for intensities that mean something (CT).
    """

    low: float = Field(default=1.0, ge=0, lt=50)
    """Percentile that becomes 0."""

    high: float = Field(default=99.8, gt=50, le=100)
    """Percentile that becomes 1."""

    fixed: tuple[tuple[float, float, float, float], ...] = ()
    """``fixed``: lowest, highest, mean and deviation per channel: clipped, then (x - mean) / deviation."""


class Scaling(Spec, frozen=True):
    """The working grid: by how much an image is resampled before the network sees it."""

    kind: Literal["native", "spacing"] = "native"
    """``native``: `factor` times the input grid; ``spacing``: resampled to `spacing_um`."""

    factor: float = Field(default=1.0, ge=0.001, le=100)
    """Working pixels per input pixel, for ``native``."""

    spacing_um: tuple[float, ...] | None = None
    """Working pixel size in micrometres, in axis order ``(z, y, x)``, for ``spacing``."""

    interpolation: Literal["linear", "cubic"] = "linear"
    """``linear``: areas are averaged where an axis shrinks; ``cubic``: third-order splines, as nnU-Net, and
    the nearest plane across the coarsest axis where its pixels are more than three times as long."""

    diameter_px: float = Field(gt=0)
    """Median object diameter of the training images, in working pixels: ``--diameter`` is scaled to it."""


class Optimizer(Spec, frozen=True):
    """The optimiser."""

    kind: Literal["sgd", "adam", "adamw"] = "adamw"
    """``sgd`` has Nesterov momentum 0.99 as in nnU-Net."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""

    weight_decay: float = Field(default=1e-4, ge=0)
    """Decoupled for ``adamw``, L2 otherwise."""

    momentum: float = Field(default=0.99, ge=0, lt=1)
    """Nesterov momentum of ``sgd``."""


class Schedule(Spec, frozen=True):
    """The learning rate over the steps."""

    kind: Literal["poly", "step", "cosine", "one_cycle"] = "cosine"
    """Shape of the curve."""

    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Share of the steps with linearly rising rate (``one_cycle``: share of the rise)."""

    power: float = Field(default=0.9, gt=0)
    """Exponent of ``poly``."""

    every: float = Field(default=0.2, gt=0, le=1)
    """``step``: share of the steps between two drops."""

    drop: float = Field(default=0.5, gt=0, lt=1)
    """``step``: factor of one drop."""

    frozen: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps, at the start, in which the encoder does not learn: for pretrained encoders."""

    thawed: float = Field(default=0.1, gt=0, le=1)
    """Factor on the learning rate once a frozen encoder learns too; the curve then begins again."""


class Augmentation(Spec, frozen=True):
    """Probabilities and ranges of the random changes to a training patch."""

    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of mirroring, per axis."""

    quarter_turn: float = Field(default=0.0, ge=0, le=1)
    """Probability of a rotation by 90, 180 or 270 degrees in the plane of the last two axes."""

    rotate: float = Field(default=0.5, ge=0, le=1)
    """Probability of a rotation by any angle in the plane of the last two axes."""

    zoom: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Range of the zoom factor, drawn log-uniformly; (1, 1) switches it off."""

    zoom_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability of a zoom."""

    zoom_to_px: tuple[PositiveFloat, PositiveFloat] | None = None
    """Zooms bring the median object of an image to a diameter in this range, drawn log-uniformly, whatever
    it is in the image, in place of `zoom`: for data sets whose images differ much in scale."""

    elastic: float = Field(default=0.15, ge=0, le=1)
    """Probability of an elastic deformation."""

    shear: float = Field(default=0.0, ge=0, le=1)
    """Probability of a shear of the last two axes, up to 0.3 px a pixel."""

    perspective: float = Field(default=0.0, ge=0, le=1)
    """Probability of a perspective view of the last two axes: one side of the patch up to twice as near."""

    piecewise_affine: float = Field(default=0.0, ge=0, le=1)
    """Probability of a shift of the nodes of a coarse grid, linear in between (``elastic`` is smooth)."""

    repaint: float = Field(default=0.0, ge=0, le=1)
    """Probability that the patch is painted anew from its labels, in a random look: for a network that is to
    work on kinds of images that it has not met."""

    intensity: float = Field(default=0.5, ge=0, le=1)
    """Probability of a change of brightness and contrast."""

    faint: float = Field(default=0.0, ge=0, le=1)
    """Probability that the patch fills a part of the range of intensities only, 0.15 of it or more: so it is
    where a scale bar, saturated dirt or the black surround of an eyepiece sets the range."""

    gamma: float = Field(default=0.3, ge=0, le=1)
    """Probability of a gamma."""

    gamma_range: tuple[PositiveFloat, PositiveFloat] = (0.6, 1.6)
    """Range of gamma, drawn log-uniformly."""

    histogram: float = Field(default=0.0, ge=0, le=1)
    """Probability of a monotonous change of the intensities: a line with one bend."""

    uneven: float = Field(default=0.0, ge=0, le=1)
    """Probability of an uneven illumination: gain and offset that vary smoothly over the patch."""

    blur: float = Field(default=0.15, ge=0, le=1)
    """Probability of a Gaussian blur."""

    blur_px: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.5)
    """Range of the blur's sigma."""

    low_resolution: float = Field(default=0.0, ge=0, le=1)
    """Probability of the look of a coarser image: shrunk to 0.5 to 1, nearest, and enlarged again, cubic."""

    emboss: float = Field(default=0.0, ge=0, le=1)
    """Probability of a relief: slopes along the diagonal are added, as if light fell from one side."""

    noise: float = Field(default=0.2, ge=0, le=1)
    """Probability of Gaussian noise."""

    noise_range: tuple[NonNegativeFloat, NonNegativeFloat] = (0.0, 0.1)
    """Range of the noise's deviation."""

    pixel_dropout: float = Field(default=0.0, ge=0, le=1)
    """Probability that up to 5 % of the pixels become 0."""

    compression: float = Field(default=0.0, ge=0, le=1)
    """Probability of a JPEG compression of 8-bit intensities, quality 20 to 90."""

    invert: float = Field(default=0.0, ge=0, le=1)
    """Probability of an inversion, so that dark and bright objects share one network."""

    shuffle: float = Field(default=0.0, ge=0, le=1)
    """Probability of a permutation of the channels."""

    colour: float = Field(default=0.0, ge=0, le=1)
    """Probability that every channel gets a contrast and a brightness of its own (stains, light sources)."""

    pseudo_colour: float = Field(default=0.0, ge=0, le=1)
    """Probability that a grey patch becomes one stain of a colour image: it stays in some of the channels,
    the others are empty or show something else."""

    per_object: float = Field(default=0.1, ge=0, le=1)
    """Probability that every object gets an intensity factor of its own."""

    copy_paste: float = Field(default=0.0, ge=0, le=1)
    """Probability that objects of another patch are pasted in."""

    conglomerates: float = Field(default=0.0, ge=0, le=1)
    """Probability that objects of another patch are moved up against objects of this one: they touch."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> "Augmentation":
        for name in ("zoom", "zoom_to_px", "gamma_range", "blur_px", "noise_range"):
            low, high = getattr(self, name) or (0, 0)
            if low > high:
                msg = f"{name} = [{low:g}, {high:g}]: expected the lower end first"
                raise ValueError(msg)
        return self

    def calmed(self, factor: float) -> "Augmentation":
        """The same with every change of intensities, size and content `factor` times as likely.

        Mirroring and rotation stay: they make images that are as likely as the real ones.
        """
        kept = {"flip", "quarter_turn", "rotate"}
        rates = {n: factor * value for n, value in self if n not in kept and isinstance(value, float)}
        return self.model_copy(update=rates)


class Retraining(Spec, frozen=True):
    """How a trained model goes on when pseudo-labelled images join in: one round of self-training."""

    share: float = Field(default=0.2, gt=0, le=1)
    """Steps of a round, as a share of ``training.steps`` (system A: 200 of 1000 epochs)."""

    rate: float = Field(default=0.3, gt=0, le=1)
    """Factor on the peak learning rate (system A: 0.003 instead of 0.01)."""

    schedule: Schedule = Schedule(kind="step", warmup=0.0, every=0.5, drop=0.5)
    """Over the steps of one round (system A: halved every 100 of its 200 epochs)."""


class Training(Spec, frozen=True):
    """How long, on what and with what."""

    steps: int = Field(default=4000, ge=1)
    """Optimiser steps; a budget is turned into this number once."""

    batch_size: int = Field(default=8, ge=1)
    """Patches per step."""

    patch_size: tuple[int, ...] = Field(min_length=2, max_length=3)
    """Patch in working pixels, in axis order."""

    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    retraining: Retraining = Retraining()

    calm_share: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps, at the end, with calmed augmentation: the last steps see images as they are."""

    calm_factor: float = Field(default=0.4, ge=0, le=1)
    """Factor on the probabilities of augmentation in those steps."""

    ema: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the exponential moving average of the weights; 0 switches it off."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the forward pass (autocast)."""

    gradient_clip: float = Field(default=12.0, gt=0)
    """Largest gradient norm."""

    object_share: float = Field(default=0.8, ge=0, le=1)
    """Share of patches that are centred on an object; the rest fall anywhere."""

    validate_every: int = Field(default=500, ge=1)
    """Steps between two looks at the validation images."""

    patience: int = Field(default=0, ge=0)
    """Looks without a better score before training stops early; 0 never stops."""

    snapshots: int = Field(default=0, ge=0)
    """Weights that are kept on the way, at equal shares of the steps; self-training by ST++ compares them."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Same seed, same weights."""


Mirror = Literal["none", "opposite", "all"]
"""1, 2 or ``2 ** ndim`` passes of the network."""


class Inference(Spec, frozen=True):
    """How a whole image goes through the network."""

    tile_size: tuple[int, ...] = Field(min_length=2, max_length=3)
    """Tile in working pixels."""

    overlap: float = Field(default=0.25, ge=0, lt=1)
    """Share of a tile that it has in common with its neighbour."""

    mirror: Mirror = "all"
    """Mirror images to average over (test-time augmentation): none, the one opposite in all axes, or all."""

    scorer: bool = True
    """Whether training learns to choose objects among nested regions, where the decoder has such, and keeps
    the choice if validation images gain by it."""


class Plan(Spec, frozen=True):
    """Every decision that training and prediction need, and no other."""

    recipe: str = "auto"
    """Name of the recipe it started from."""

    task: Task = "instances"
    """What is segmented: single objects, or classes such as organs."""

    classes: dict[str, int] = Field(default_factory=dict)
    """``semantic``: name of each class to its label."""

    ndim: Literal[2, 3]
    """Spatial axes."""

    channels: tuple[str, ...] = Field(min_length=1)
    """Names of the network's input channels; a grey image fills all channels of an RGB plan."""

    halo_px: tuple[int, ...] = Field(min_length=2, max_length=3)
    """Margin by which crops are cut larger, per axis, so that targets at a crop's edge are right."""

    scaling: Scaling
    normalization: Normalization = Normalization()
    representation: AnyRepresentation
    network: AnyNetwork
    training: Training
    inference: Inference

    @model_validator(mode="after")
    def _task_agrees(self) -> "Plan":
        if self.representation.task != self.task:
            msg = f"task = {self.task!r}, but the representation {self.representation.kind!r} is for others"
            raise ValueError(msg)
        pasted = [
            name for name in ("copy_paste", "conglomerates") if getattr(self.training.augmentation, name)
        ]
        if pasted and self.task == "semantic":
            msg = f"training.augmentation.{pasted[0]} moves objects; with classes it must be 0"
            raise ValueError(msg)
        fixed = self.normalization.fixed
        if self.normalization.kind == "fixed" and len(fixed) != len(self.channels):
            msg = f"normalization.fixed has {len(fixed)} rows for {len(self.channels)} channels"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Plan":
        sizes = {
            "halo_px": self.halo_px,
            "training.patch_size": self.training.patch_size,
            "inference.tile_size": self.inference.tile_size,
        }
        for key, value in sizes.items():
            if len(value) != self.ndim or min(value) < 1:
                msg = f"{key} = {list(value)} must be {self.ndim} positive numbers, one per axis"
                raise ValueError(msg)
        divisors = self.network.divisors(self.ndim)
        if any(side % step for side, step in zip(self.training.patch_size, divisors, strict=True)):
            patch = list(self.training.patch_size)
            msg = f"training.patch_size = {patch} must be multiples of {list(divisors)}: it is halved"
            raise ValueError(msg)
        return self

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """Read a plan from TOML.

        Raises:
            InputError: The file is missing or broken, or a key or value is unknown.
        """
        return load(cls, path)

    def dumps(self, reasons: dict[str, str] | None = None) -> str:
        """The plan as TOML text, each decision under the reason for it (dotted key to reason)."""
        return dump_toml(self.model_dump(mode="python", exclude_none=True), reasons)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change when any decision changes."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()[:12]

    @property
    def working_spacing(self) -> tuple[float, ...]:
        """Pixel size on the working grid: micrometres, or 1.0 per axis when unknown."""
        return self.scaling.spacing_um or (1.0,) * self.ndim
