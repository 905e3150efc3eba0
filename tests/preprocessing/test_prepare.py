import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from echo import echo_plan
from morula.data.layouts import open_dataset
from morula.data.sample import Image
from morula.errors import InputError
from morula.labels.renumber import renumber
from morula.planning.fingerprint import fingerprint
from morula.planning.plan import Normalization, Scaling
from morula.planning.planner import make_plan
from morula.preprocessing import prepare as module
from morula.preprocessing.geometry import resample_cubic
from morula.preprocessing.intensity import normalize
from morula.preprocessing.prepare import Prepared, name_modalities, prepare, to_working_grid
from morula.targets.weights import unet_weight_map
from synthetic import picture_of, touching_balls


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def root(request, tmp_path):
    labels = touching_balls(request.param, shape=48)
    for folder in ("data/images/sub", "data/labels/sub"):
        (tmp_path / folder).mkdir(parents=True)
    metadata = {"axes": "YX" if request.param == 2 else "ZYX"}
    for name in ("a", "sub/b"):
        for folder, array in (("images", picture_of(labels)), ("labels", labels.astype(np.uint16))):
            tifffile.imwrite(tmp_path / "data" / folder / f"{name}.ome.tif", array, metadata=metadata)
    tifffile.imwrite(tmp_path / "data/images/c.ome.tif", picture_of(labels), metadata=metadata)
    return tmp_path


def plan_for(dataset, *, factor: float = 1.0, kind: str = "percentile"):
    changes = {"scaling": {"factor": factor}, "normalization": {"kind": kind}}
    return make_plan(fingerprint(dataset), "auto", changes)[0]


def test_arrays_on_the_working_grid(root):
    dataset = open_dataset(root / "data")
    prepared = prepare(dataset, dataset.samples, plan_for(dataset), root / "cache")
    assert [item.id for item in prepared] == [sample.id for sample in dataset.samples]
    for item, sample in zip(prepared, dataset.samples, strict=True):
        image = np.load(item.image, mmap_mode="r")
        assert image.dtype == np.float16
        assert image.shape == (1, *dataset.image(sample).pixels.shape[1:])
        assert abs(np.percentile(image, 1)) < 0.01
        assert item.image == root / "cache" / sample.id / "image.npy"
        assert item.modality == "kind 1"
        if sample.labels:
            labels = np.load(item.labels)
            assert labels.dtype == np.int32
            np.testing.assert_array_equal(labels, renumber(dataset.labels(sample)))
            assert item.diameter_px == pytest.approx(18, abs=1.5)
        else:
            assert item.labels is None
            assert item.diameter_px == 0


def test_ids_of_any_size_become_1_to_n(root):
    dataset = open_dataset(root / "data")
    sample = dataset.samples[0]
    labels = dataset.labels(sample)
    # Neighbours that a float32, in which patches are cut, cannot tell apart.
    large = np.where(labels > 0, labels + (1 << 30), 0).astype(np.uint32)
    tifffile.imwrite(sample.labels[0], large, metadata={"axes": "ZYX"[-labels.ndim :]})
    item = prepare(dataset, [sample], plan_for(dataset), root / "cache")[0]
    found = np.load(item.labels)
    assert np.unique(found).tolist() == list(range(int(labels.max()) + 1))
    np.testing.assert_array_equal(found > 0, labels > 0)


def test_rescaled(root):
    dataset = open_dataset(root / "data")
    item = prepare(dataset, dataset.samples[:1], plan_for(dataset, factor=0.5), root / "cache")[0]
    shape = tuple(24 for _ in dataset.image(dataset.samples[0]).pixels.shape[1:])
    assert np.load(item.image).shape == (1, *shape)
    assert np.load(item.labels).shape == shape
    assert len(np.unique(np.load(item.labels))) == len(np.unique(dataset.labels(dataset.samples[0])))
    assert item.diameter_px == pytest.approx(9, abs=1)


def test_labels_show_the_planes_that_the_image_shows() -> None:
    plan = echo_plan(
        3,
        scaling=Scaling(kind="spacing", spacing_um=(10.0, 1.0, 1.0), interpolation="cubic", diameter_px=12.0),
        task="semantic",
        representation={"kind": "class_distance"},
    )
    for plane, shown in enumerate([None, 0, None, 1, None, None, 2, None, 3, None]):
        labels = np.zeros((10, 8, 8), np.int32)
        labels[plane, 2:6, 2:6] = 1
        image = Image(labels[None].astype(np.uint8), ("grey",), (4.0, 1.0, 1.0))
        pixels, found = to_working_grid(image, labels, plan)
        assert pixels.shape[1:] == found.shape == (4, 8, 8)
        np.testing.assert_array_equal(found > 0, pixels[0] > 0.5)
        assert np.flatnonzero(found.any((1, 2))).tolist() == ([] if shown is None else [shown])


@pytest.mark.parametrize(
    ("working_um", "own_um", "n_planes", "nearest"),
    [
        # Only the image's planes are thick: working plane i lies at (i + 0.5) * 5 / 12 of its five.
        ((3.0, 1.0, 1.0), (7.2, 0.8, 0.8), 5, [0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4]),
        # Only the working grid's planes are thick: (i + 0.5) * 10 / 8.
        ((4.0, 1.0, 1.0), (3.0, 1.25, 1.25), 10, [0, 1, 3, 4, 5, 6, 8, 9]),
        # None are: splines along all axes.
        ((2.0, 1.0, 1.0), (1.0, 0.8, 0.8), 10, None),
    ],
)
def test_planes_of_another_spacing_are_taken_whole_and_splined_within(
    tmp_path: Path,
    working_um: tuple[float, ...],
    own_um: tuple[float, ...],
    n_planes: int,
    nearest: list[int] | None,
) -> None:
    from skimage.transform import resize

    plan = echo_plan(
        3,
        scaling=Scaling(kind="spacing", spacing_um=working_um, interpolation="cubic", diameter_px=12.0),
        normalization=Normalization(kind="zscore"),
        task="semantic",
        representation={"kind": "class_distance"},
    )
    pixels = np.random.default_rng(0).integers(0, 255, (n_planes, 20, 25), np.uint8)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.ome.tif", pixels, metadata={"axes": "ZYX"})
    dataset = open_dataset(tmp_path, spacing_um=own_um)
    found = np.load(prepare(dataset, dataset.samples, plan, tmp_path / "cache")[0].image)

    shape = (len(nearest) if nearest else 5, *(round(n * own_um[1]) for n in pixels.shape[1:]))
    normalized = normalize(pixels[None], plan.normalization)
    # Half precision: about three digits.
    close = {"rtol": 1e-3, "atol": 1e-3}
    across = None if nearest is None else 0
    np.testing.assert_allclose(found, resample_cubic(normalized, shape, across), **close)
    values = (pixels - pixels.mean()) / pixels.std()
    how = {"order": 3, "mode": "edge", "anti_aliasing": False, "clip": False}
    if nearest is None:
        expected = resize(values, shape, **how)
    else:
        expected = np.stack([resize(values[plane], shape[1:], **how) for plane in nearest])
    np.testing.assert_allclose(found[0], expected, **close)


def test_what_is_there_is_kept(root, monkeypatch):
    dataset = open_dataset(root / "data")
    plan = plan_for(dataset)
    first = prepare(dataset, dataset.samples, plan, root / "cache")
    monkeypatch.setattr(module, "_working_arrays", lambda *_: pytest.fail("prepared again"))
    assert prepare(dataset, dataset.samples, plan, root / "cache") == first
    # Nothing but channels, scaling, normalisation and representation matters.
    changed = plan.model_copy(update={"training": plan.training.model_copy(update={"steps": 3})})
    assert prepare(dataset, dataset.samples, changed, root / "cache") == first


def test_other_decisions_or_files_are_prepared_anew(root):
    dataset = open_dataset(root / "data")
    item = prepare(dataset, dataset.samples, plan_for(dataset), root / "cache")[0]
    before = np.load(item.image)
    prepare(dataset, dataset.samples, plan_for(dataset, kind="zscore"), root / "cache")
    assert not np.array_equal(np.load(item.image), before)
    path = dataset.samples[0].image[0]
    tifffile.imwrite(
        path, 255 - tifffile.imread(path), metadata={"axes": "ZYX"[-tifffile.imread(path).ndim :]}
    )
    prepare(dataset, dataset.samples, plan_for(dataset), root / "cache")
    assert np.corrcoef(np.load(item.image).ravel(), before.ravel())[0, 1] < -0.99


def test_maps_of_whole_images_lie_beside_them(root):
    dataset = open_dataset(root / "data")
    plan = plan_for(dataset)
    assert not prepare(dataset, dataset.samples, plan, root / "cache")[0].maps
    spec = {"kind": "interior_boundary", "weight_map": True}
    weighted = type(plan).model_validate({**plan.model_dump(), "representation": spec})
    items = prepare(dataset, dataset.samples, weighted, root / "cache")
    for item in items:
        assert set(item.maps) == ({"weight"} if item.labels else set())
        if item.labels:
            labels = np.load(item.labels)
            classes = weighted.representation.encode(labels, plan.working_spacing)["classes"].argmax(0)
            weight = np.load(item.maps["weight"])
            assert weight.dtype == np.float32
            np.testing.assert_array_equal(weight[0], unet_weight_map(labels, 10.0, 5.0, classes))
    assert prepare(dataset, dataset.samples, weighted, root / "cache") == items


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_an_interrupted_sample_is_prepared_anew(root, damage):
    dataset = open_dataset(root / "data")
    plan = plan_for(dataset)
    first = prepare(dataset, dataset.samples, plan, root / "cache")
    (root / "cache" / first[0].id / "meta.json").write_text(damage)
    first[0].image.write_bytes(b"half")
    assert prepare(dataset, dataset.samples, plan, root / "cache") == first
    assert np.load(first[0].image).dtype == np.float16
    assert json.loads((root / "cache" / first[0].id / "meta.json").read_text())["key"]
    assert not list((root / "cache").rglob(".*"))


def test_progress(root):
    dataset = open_dataset(root / "data")
    seen: list[tuple[int, int]] = []
    prepare(
        dataset,
        dataset.samples,
        plan_for(dataset),
        root / "cache",
        lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_bad_samples_are_named(root):
    dataset = open_dataset(root / "data")
    plan = plan_for(dataset)
    sample = dataset.samples[0]
    shape = tuple(size - 1 for size in dataset.image(sample).pixels.shape[1:])
    tifffile.imwrite(sample.labels[0], np.ones(shape, np.uint16), metadata={"axes": "ZYX"[-len(shape) :]})
    with pytest.raises(InputError, match=f"{sample.id}: the labels have shape"):
        prepare(dataset, [sample], plan, root / "cache")
    assert not (root / "cache" / sample.id / "meta.json").exists()
    coloured = plan.model_copy(update={"channels": ("dapi", "actin")})
    with pytest.raises(InputError, match="the model needs dapi, actin"):
        prepare(dataset, [dataset.samples[1]], coloured, root / "cache")


def test_unwritable_folder(root):
    dataset = open_dataset(root / "data")
    blocked = root / "blocked"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(InputError):
        prepare(dataset, dataset.samples[:1], plan_for(dataset), blocked)


def test_given_modality_and_attributes(root):
    dataset = open_dataset(root / "data")
    sample = dataset.samples[0]
    object.__setattr__(sample, "attributes", {"modality": "phase", "lab": "x"})
    item = prepare(dataset, [sample], plan_for(dataset), root / "cache")[0]
    assert item.modality == "phase"
    assert item.attributes == {"modality": "phase", "lab": "x"}


def test_sets_that_are_joined_share_their_names_only_for_images_that_look_alike():
    bright, dark, stained = (0.0, 0.9, 0.1, 0.4), (0.0, -0.9, 0.9, 0.4), (0.9, 0.0, 0.5, 0.5)

    def made(name: str, look: tuple[float, ...], modality: str = "") -> Prepared:
        return Prepared(name, Path("none"), None, {"modality": modality}, "", 0.0, features=look)

    labelled = [made(f"a{k}", bright) for k in range(6)] + [made(f"b{k}", stained) for k in range(3)]
    pseudo = [made(f"p{k}", dark) for k in range(5)] + [made("q", stained), made("r", dark, "given")]
    # Each set alone calls its largest group the same.
    alone = name_modalities(labelled)[0].modality, name_modalities(pseudo)[0].modality
    assert alone == ("kind 1", "kind 1")
    together = {sample.id: sample.modality for sample in name_modalities([*labelled, *pseudo])}
    assert [together[name] for name in ("a0", "p0", "b0", "q", "r")] == [
        "kind 1",
        "kind 2",
        "kind 3",
        "kind 3",
        "given",
    ]
