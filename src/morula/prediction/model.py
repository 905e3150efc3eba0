"""A trained model: image in, instances with confidence out. Imports torch."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import nn

from morula.data.formats import as_image
from morula.data.sample import Image
from morula.errors import InputError
from morula.labels.resample import resample_labels
from morula.planning.plan import Inference, Plan
from morula.prediction.calibration import Calibration
from morula.prediction.classes import decode_classes
from morula.prediction.confidence import needed_heads
from morula.prediction.engines import Engine, accelerate, choose_engine
from morula.prediction.ensemble import (
    Ensemble,
    Precision,
    Progress,
    best_precision,
    check_device,
    keep_to_cores,
    ready,
)
from morula.prediction.large import coarsest, cut_blocks, decode_blocks
from morula.prediction.reliability import judge
from morula.prediction.scale import (
    Diameter,
    Look,
    check_diameter,
    find_zoom,
    is_estimated,
    looks_at,
    usual_diameter,
)
from morula.prediction.scorer import Scorer
from morula.prediction.segmentation import Segmentation
from morula.prediction.shipped import find_folder, read_plan, weight_files
from morula.prediction.stains import stain_of
from morula.prediction.tiles import tile_grid
from morula.preprocessing.geometry import (
    plane_axis,
    resample,
    resample_cubic,
    select_channels,
    working_shape,
)
from morula.preprocessing.intensity import Normalizer, normalize
from morula.preprocessing.specimen import specimen
from morula.representations import Head
from morula.representations.class_distance import ClassDistance
from morula.spec import validate
from morula.types import Map, Maps, Spacing


@dataclass(frozen=True)
class Model:
    """Networks of one or more folds, averaged, and the plan they were trained by.

    ``Model.load("generalist").segment(image)`` is the whole of it.
    """

    name: str
    """Name of a shipped model, or of the run folder."""

    plan: Plan
    """Every decision, with the decoder's tuned fields."""

    networks: tuple[nn.Module, ...]
    """One per fold, each made `ready`, on `device`."""

    device: str = "cpu"
    """Where the networks lie, as torch names it."""

    precision: Precision = "float32"
    """Arithmetic of torch's forward pass."""

    engine: Engine = "torch"
    """What runs the networks."""

    calibration: Calibration | None = None
    """Turns an object's score into a probability; None leaves the score as it is."""

    scorer: Scorer | None = None
    """Chooses the objects among nested regions; None cuts these at the height that the plan says."""

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        device: str = "cpu",
        weights: str = "weights",
        engine: str = "torch",
        streams: int = 1,
    ) -> "Model":
        """A shipped model by its name, or a run folder by its path.

        Args:
            name_or_path: Which model.
            device: As torch names it.
            weights: Name of the weight files: the best ones, or ``snapshot_1`` ... of a run that kept some.
            engine: What runs the networks: ``torch``, ``openvino``, ``openvino-int8``, ``onnxruntime``, or
                ``auto`` for the fastest that is there.
            streams: Threads that will call the model at a time, see `morula.prediction.engines.accelerate`.

        Raises:
            InputError: There is no such model, a file in it is broken, or the device or engine is
                not there.
        """
        folder = find_folder(name_or_path)
        plan = read_plan(folder)
        files = weight_files(folder, weights)
        check_device(device)
        keep_to_cores()
        chosen = choose_engine(engine, device, files)
        loaded = [ready(load_network(plan, path), plan.ndim, device) for path in files]
        networks = tuple(
            accelerate(network, plan, path, chosen, streams)
            for network, path in zip(loaded, files, strict=True)
        )
        return cls(
            folder.resolve().name,
            plan,
            networks,
            device,
            best_precision(device),
            chosen,
            Calibration.load(folder),
            Scorer.load(folder),
        )

    def mirroring(self, which: str) -> "Model":
        """The same model, averaging over these mirror images.

        Raises:
            InputError: `which` is no `morula.planning.plan.Mirror`.
        """
        inference = validate(Inference, {**self.plan.inference.model_dump(), "mirror": which})
        return replace(self, plan=self.plan.model_copy(update={"inference": inference}))

    def segment(
        self,
        image: Image | np.ndarray,
        *,
        diameter_px: Diameter = "auto",
        spacing_um: Spacing | None = None,
        progress: Progress | None = None,
    ) -> Segmentation:
        """Instances (or classes) of an image of any size, on the image's own grid.

        Args:
            image: ``(C, *spatial)``; channels are picked by name. An array of two axes is ``Y X``; one with
                more is made an image by `morula.as_image`.
            diameter_px: Typical object diameter in the image's pixels: the image is resampled so that
                it becomes the diameter the model was trained on. ``"auto"``: estimated from the image, see
                `morula.prediction.scale`; in 3D, for classes, and where the model works at a physical pixel
                size, the same as ``"trained"``: the scale of the training images.
            spacing_um: Pixel size per axis; the image's own when not given.
            progress: Called with tiles done and all tiles.

        Returns:
            With the colour that was looked at alone where the image is a composite of stains
            (`morula.prediction.stains`).

        Raises:
            InputError: Dimensions, channels or pixel size do not fit the plan, or an impossible diameter.
        """
        check_diameter(diameter_px)
        image = as_image(image) if isinstance(image, np.ndarray) else image
        image = specimen(image, self.plan.channels)
        if spacing_um is not None:
            image = replace(image, spacing_um=spacing_um)
        given = None if isinstance(diameter_px, str) else diameter_px
        if given is not None and self.plan.task == "semantic":
            msg = "classes are found at a physical pixel size: give --pixel-size instead of --diameter."
            raise InputError(msg)
        shape = self._shape(image, given)
        zooms = np.divide(shape, image.pixels.shape[1:])
        zoom = float(np.prod(zooms) ** (1 / len(zooms)))
        channel = stain_of(image, self.plan, lambda part: self._looks(part)(zoom / self.plan.scaling.factor))
        if channel is not None:
            image = image.only(channel)
        if diameter_px == "auto" and is_estimated(self.plan):
            estimate = find_zoom(self._looks(image), usual_diameter(self.plan))
            shape = tuple(max(1, round(side * estimate)) for side in shape)
            zoom *= estimate
        return replace(self._segment(image, shape, progress), zoom=zoom, channel=channel)

    def _looks(self, image: Image) -> Callable[[float], Look | None]:
        """What the model finds in a window of the image, by zoom relative to the trained scale."""
        pixels = select_channels(image, self.plan.channels)
        normalizer = Normalizer.measure(pixels, self.plan.normalization)
        # What is compared are plain scores: a scorer is about objects, not about how well a scale suits.
        plain = replace(self.mirroring("none"), scorer=None)
        segment = partial(plain._instances, normalizer=normalizer, progress=None)
        return looks_at(pixels, self.plan, normalizer, segment)

    def predict_maps(
        self,
        image: Image,
        *,
        diameter_px: float | None = None,
        spacing_um: Spacing | None = None,
        progress: Progress | None = None,
    ) -> Maps:
        """Blended, activated maps of all heads, on the working grid.

        Raises:
            InputError: Dimensions, channels or pixel size do not fit the plan.
        """
        image = specimen(image, self.plan.channels)
        if spacing_um is not None:
            image = replace(image, spacing_um=spacing_um)
        pixels, normalizer = self._input(image, self._shape(image, diameter_px))
        normalized = pixels if normalizer is None else normalizer.apply(pixels)
        return self.maps_of(normalized, progress=progress)

    def maps_of(
        self, pixels: Map, *, heads: tuple[Head, ...] | None = None, progress: Progress | None = None
    ) -> Maps:
        """Maps of an image that is normalised and on the working grid already.

        Args:
            pixels: ``(C, *spatial)``.
            heads: Which maps; all when not given.
            progress: Called with tiles done and all tiles.
        """
        wanted = heads or self.plan.representation.heads(self.plan.ndim)
        bands = [maps for _, maps in self._bands(pixels, wanted, None, progress)]
        return {head.name: np.concatenate([band[head.name] for band in bands], 1) for head in wanted}

    def _bands(
        self,
        pixels: np.ndarray,
        heads: tuple[Head, ...],
        normalizer: Normalizer | None,
        progress: Progress | None,
    ) -> Iterator[tuple[int, Maps]]:
        inference = self.plan.inference
        ensemble = Ensemble(self.networks, self.plan.ndim, inference.mirror, self.device, self.precision)
        steps = self.plan.network.divisors(self.plan.ndim)
        divisors = tuple(math.lcm(step, coarsest(heads)) for step in steps)
        grid = tile_grid(pixels.shape[1:], inference.tile_size, inference.overlap, divisors)
        return ensemble.bands(pixels, grid, heads, normalizer, progress)

    def _shape(self, image: Image, diameter_px: float | None) -> tuple[int, ...]:
        """Spatial shape of the image on the working grid."""
        return working_shape(image.pixels.shape[1:], self.plan, image.spacing_um, diameter_px)

    def _input(self, image: Image, shape: tuple[int, ...]) -> tuple[np.ndarray, Normalizer | None]:
        """The plan's channels on the working grid, in their own dtype, and how to normalise them.

        Measured on the image's own grid, as in training: resampling narrows the range of intensities. What is
        resampled by splines is normalised already (None): they would smear what is to be clipped.
        """
        pixels = select_channels(image, self.plan.channels)
        if self.plan.scaling.interpolation == "cubic":
            normalized = normalize(pixels, self.plan.normalization)
            return resample_cubic(normalized, shape, plane_axis(self.plan, image.spacing_um)), None
        return resample(pixels, shape), Normalizer.measure(pixels, self.plan.normalization)

    def _segment(self, image: Image, shape: tuple[int, ...], progress: Progress | None) -> Segmentation:
        plan = self.plan
        pixels, normalizer = self._input(image, shape)
        if isinstance(plan.representation, ClassDistance):
            bands = self._bands(pixels, needed_heads(plan.representation, plan.ndim), normalizer, progress)
            across = plane_axis(plan, image.spacing_um)
            return decode_classes(bands, shape, image.pixels.shape[1:], plan.representation, across)
        found = self._instances(pixels, normalizer, progress)
        found = judge(found, select_channels(image, plan.channels), plan, self.calibration)
        if shape == image.pixels.shape[1:]:
            return found
        return replace(found, labels=resample_labels(found.labels, image.pixels.shape[1:]))

    def _instances(
        self, pixels: np.ndarray, normalizer: Normalizer | None, progress: Progress | None
    ) -> Segmentation:
        """Objects on the working grid, with their scores before calibration."""
        plan, shape = self.plan, pixels.shape[1:]
        heads = needed_heads(plan.representation, plan.ndim)
        bands = self._bands(pixels, heads, normalizer, progress)
        blocks = cut_blocks(shape, 2 * plan.halo_px[0], coarsest(heads))
        return decode_blocks(bands, blocks, shape, plan.representation, plan.working_spacing, self.scorer)


def load_network(plan: Plan, path: Path) -> nn.Module:
    """The plan's network with the weights of a file.

    Raises:
        InputError: The file is damaged, or of another plan.
    """
    heads = plan.representation.heads(plan.ndim)
    network = plan.network.build(plan.ndim, len(plan.channels), heads)
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:  # whatever damaged bytes or other shapes lead to
        found = str(error).partition("\n")[0] or type(error).__name__
        msg = f"{path} does not hold this plan's network: {found} Train it again."
        raise InputError(msg) from error
    return network
