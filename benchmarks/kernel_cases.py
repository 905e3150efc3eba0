"""What `kernels.py` compares in one process: our kernels, rivals beside them, and how results are judged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from skimage.measure import label as sk_label
from skimage.measure import regionprops_table
from skimage.morphology import remove_small_objects
from skimage.segmentation import relabel_sequential
from skimage.segmentation import watershed as sk_watershed

import rivals
from morula.decoding.components import grow
from morula.decoding.watershed import watershed
from morula.evaluation.surface import normalized_surface_distance
from morula.labels.components import connected_components, remove_small
from morula.labels.matching import DSB_THRESHOLDS, match, pairs_of_overlap
from morula.labels.measure import measure
from morula.labels.overlap import Overlap, overlap_table
from morula.labels.renumber import renumber
from morula.targets.distances import centroid_offsets, inner_distance, signed_distance, two_nearest_distances
from morula.targets.stars import star_directions, star_distances
from scenes import Scene

RAYS = 32


@dataclass(frozen=True)
class Case:
    """One kernel, and who is measured beside it."""

    kernel: str
    ours: Callable[[Scene], Any]
    rival: str = ""
    other: Callable[[Scene], Any] | None = None
    agreement: Callable[[Scene, Any, Any], float] | None = None
    asked: float = np.nan
    floor: float = np.nan
    most: Callable[[Scene], bool] = lambda _: True
    """Whether the rival can be waited for on this scene."""

    stands_for: str = ""
    """Package whose own function is measured instead, where its environment is there."""


def equal(_: Scene, one: Any, other: Any) -> float:
    """Share of equal entries."""
    return float((one == other).mean())


def close(_: Scene, one: Any, other: Any, tolerance: float = 1e-4) -> float:
    """Share of numbers that differ by at most `tolerance`."""
    return float(np.isclose(one, other, rtol=0, atol=tolerance).mean())


def by_sizes(_: Scene, table: Any, counts: np.ndarray) -> float:
    """Whether the pairs share as many pixels; the rival's in the same order, zeros left out."""
    return float(np.array_equal(table.pixels, counts[counts > 0]))


def by_renumbering(scene: Scene, ids: np.ndarray, other: np.ndarray) -> float:
    """Share of equal ids, after the rival's are put in order of appearance too."""
    return equal(scene, ids, renumber(other))


def within_32(_: Scene, found: Any, exact: np.ndarray) -> float:
    """Share of equal distances; those above 32 count as infinite."""
    return close(_, np.stack(found), np.where(exact > 32 * (1 + 1e-6), np.inf, exact))


def few(scene: Scene) -> bool:
    """Few enough for a dense table of objects x objects."""
    return scene.objects <= 5_000


def small(scene: Scene) -> bool:
    """Small enough for several passes over the image per object."""
    return scene.objects * scene.truth.size <= 6e8


def overlap(scene: Scene) -> Overlap:
    """Pixels per pair."""
    return overlap_table(scene.truth, scene.predicted)


def ap(scene: Scene) -> list[float]:
    """AP at ten thresholds."""
    return [each.ap for each in match(scene.truth, scene.predicted, DSB_THRESHOLDS)]


def panoptic_quality(scene: Scene, strict: bool = True) -> float:
    """Kirillov et al. 2019; pairs of an IoU above 0.5, or of at least 0.5 if not `strict`."""
    table = overlap_table(scene.truth, scene.predicted)
    return 2 * float(pairs_of_overlap(table, 0.5, strict)[2].sum()) / (table.n_truth + table.n_predicted)


def nsd(scene: Scene) -> float | None:
    """Normalised surface distance of the foreground."""
    return normalized_surface_distance(scene.mask, scene.found, scene.spacing, 2.0)


def offsets(scene: Scene) -> np.ndarray:
    """HoVer maps."""
    return centroid_offsets(scene.truth)


def stars(scene: Scene) -> np.ndarray:
    """Star distances."""
    return star_distances(scene.truth, star_directions(scene.truth.ndim, RAYS), scene.spacing)


def renumbered(scene: Scene) -> np.ndarray:
    """Ids 1 to n."""
    return renumber(scene.sparse)


def _properties(scene: Scene) -> dict[str, np.ndarray]:
    names = ["label", "area", "centroid", "bbox", "axis_major_length", "axis_minor_length", "intensity_mean"]
    # Solidity is another measure in 3D: per plane here, in space there.
    names += ["solidity"] if scene.truth.ndim == 2 else []
    return regionprops_table(scene.truth, scene.relief, tuple(names))


def _same_measures(scene: Scene, rows: list[dict[str, float]], table: dict[str, np.ndarray]) -> float:
    flat = scene.truth.ndim == 2
    # Axes and solidity are defined otherwise there: by pixels' corners, not by their centres.
    pairs = {"area_px" if flat else "volume_px": "area", "mean_grey": "intensity_mean"}
    pairs |= {f"centroid_{axis}": f"centroid-{i}" for i, axis in enumerate("zyx"[3 - scene.truth.ndim :])}
    ours = np.array([[row[name] for row in rows] for name in pairs])
    return close(scene, ours, np.array([table[name] for name in pairs.values()]), 0.01)


CASES = (
    Case("overlap table", overlap, "np.unique",
         lambda s: rivals.overlap_by_unique(s.truth, s.predicted), by_sizes, 4, 1.7),
    Case("AP at 10 thresholds", ap, "dense table",
         lambda s: rivals.ap_by_dense_table(s.truth, s.predicted), close, 8, 5, few, "stardist"),
    Case("panoptic quality", panoptic_quality, "panopticapi's definition",
         lambda s: rivals.pq_by_dictionaries(s.truth, s.predicted), close, floor=2),
    Case("NSD, 2 px", nsd, "distance transforms",
         lambda s: rivals.nsd_by_transform(s.mask, s.found, 2.0), close, floor=2.5, stands_for="monai"),
    Case("watershed", lambda s: watershed(s.relief, s.markers, s.mask), "scikit-image",
         lambda s: sk_watershed(s.relief, s.markers, mask=s.mask), equal, 4, 3.3),
    Case("two nearest distances", lambda s: two_nearest_distances(s.truth, 32), "EDT per cell",
         lambda s: rivals.two_nearest_by_cell(s.truth), within_32, 7, 20, most=small),
    Case("inner distance", lambda s: inner_distance(s.truth, s.spacing)),
    Case("signed distance", lambda s: signed_distance(s.truth, s.spacing), "scipy crops",
         lambda s: rivals.signed_by_cell(s.truth), close, floor=1.8),
    Case("HoVer maps", offsets, "crop loop",
         lambda s: rivals.offsets_by_cell(s.truth), partial(close, tolerance=0.1), 6, 4),
    Case("star distances, 32 rays", stars, stands_for="stardist"),
    Case("renumber", renumbered, "scikit-image",
         lambda s: relabel_sequential(s.sparse)[0], by_renumbering, 19, 3.5),
    Case("measure", lambda s: measure(s.truth, s), "regionprops_table", _properties, _same_measures, 22, 15),
    Case("components of a mask", lambda s: connected_components(s.mask), "scikit-image",
         lambda s: sk_label(s.mask, connectivity=1), equal, 2.7, 1.6),
    Case("components of labels", lambda s: connected_components(s.truth), "scikit-image",
         lambda s: sk_label(s.truth, connectivity=1), equal, 4, 2.5),
    Case("remove small", lambda s: remove_small(s.truth, 50), "scikit-image",
         lambda s: remove_small_objects(s.truth, max_size=49), equal, 1.8, 1.4),
    Case("components and growth", lambda s: grow(connected_components(s.core), s.mask),
         "scikit-image, EDT", lambda s: rivals.grow_by_transform(s.core, s.mask), equal, floor=2),
)  # fmt: skip
