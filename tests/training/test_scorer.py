"""Learning to choose among nested regions."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from morula.data.formats import read_image, write_labels
from morula.data.sample import Sample
from morula.decoding.regions import nested_regions
from morula.evaluation.tuning import tune
from morula.prediction.model import Model
from morula.representations import read_representation
from morula.training.run import Request
from morula.training.scorer import Candidates, best_iou, choose_scorer, deal, fit_scorer
from morula.training.train import train
from morula.training.tune import tune_model
from morula.training.validation import Example

SIDE = 160


def disc(centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.indices((SIDE, SIDE))
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def scene(seed: int) -> Example:
    """Large discs with a furrow down to 0.5 in them, and touching small discs that only 0.8 tells apart.

    No threshold on markers is right for both.
    """
    rng = np.random.default_rng(seed)
    truth = np.zeros((SIDE, SIDE), np.int32)
    core, border = np.zeros((2, SIDE, SIDE), np.float32)
    centres = [(20 + 40 * i, 20 + 40 * j) for i in range(4) for j in range(4)]
    for number, (y, x) in enumerate(centres):
        if (number + seed) % 2:
            mask = disc((y, x), 15)
            truth[mask] = truth.max() + 1
            core[mask] = 0.97
            core[mask & (np.abs(np.indices(truth.shape)[1] - x) < 2)] = 0.5
        else:
            halves = disc((y, x - 7), 7), disc((y, x + 7), 7)
            for half in halves:
                truth[half] = truth.max() + 1
            both = halves[0] | halves[1]
            core[both] = 0.97
            core[both & (np.abs(np.indices(truth.shape)[1] - x) < 2)] = 0.75
    core = np.clip(core + rng.normal(0, 0.01, core.shape), 0, 1).astype(np.float32)
    inside = ndimage.gaussian_filter((truth > 0).astype(np.float32), 0.5)
    maps = {"nuclei": inside[None], "shrunk": core[None], "borders": border[None]}
    return maps, truth


REPRESENTATION = read_representation({"kind": "shrunk_borders"})


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.fixture(scope="module")
def examples() -> dict[str, Example]:
    return {f"im{seed}": scene(seed) for seed in range(10)}


def grouped(examples: dict[str, Example]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(sorted(examples)[i::5]) for i in range(5))


@pytest.mark.slow
def test_a_choice_learns_what_no_threshold_can_tell(examples: dict[str, Example]):
    _, trials = tune(REPRESENTATION, examples.values(), (1.0, 1.0))
    plain = max(trial["dsb"] for trial in trials)
    fitted = fit_scorer(examples, grouped(examples), REPRESENTATION, quiet)
    assert fitted is not None
    assert plain < 0.75
    assert fitted.scorer.score > 0.9
    assert fitted.scorer.unseen == grouped(examples)
    maps, truth = scene(99)
    labels, quality = fitted.scorer.decode(maps, fitted.representation)
    assert labels.max() == truth.max()
    assert quality.min() > 0.7
    again = fit_scorer(examples, grouped(examples), REPRESENTATION, quiet)
    assert again is not None
    features = Candidates.of(examples["im0"], REPRESENTATION).features
    np.testing.assert_array_equal(again.scorer.quality(features), fitted.scorer.quality(features))


@pytest.mark.slow
def test_training_images_teach_where_validation_images_are_few(examples: dict[str, Example]):
    """Two of them show each perceptron a single image; with eight teachers all is known."""
    few = {name: examples[name] for name in ("im0", "im1")}
    groups = (("im0",), ("im1",))
    lessons = [Candidates.of(scene(seed), REPRESENTATION).lesson for seed in range(20, 28)]
    assert all(len(each.quality) == len(each.features) > 20 for each in lessons)
    taught = choose_scorer(few, groups, REPRESENTATION, None, quiet, lessons)
    assert taught is not None
    assert taught.scorer.score > 0.9
    # Teachers that are wrong are not listened to.
    wrong = [replace(each, quality=1 - each.quality) for each in lessons]
    alone = choose_scorer(examples, grouped(examples), REPRESENTATION, None, quiet)
    misled = choose_scorer(examples, grouped(examples), REPRESENTATION, None, quiet, wrong)
    assert alone is not None
    assert misled is not None
    assert misled.scorer.score == alone.scorer.score


def test_too_little_teaches_nothing(examples: dict[str, Example]):
    few = {"im0": examples["im0"], "im1": examples["im1"]}
    assert fit_scorer(few, (("im0",), ("im1",)), REPRESENTATION, quiet) is None
    assert fit_scorer(examples, (), REPRESENTATION, quiet) is None
    hover = read_representation({"kind": "hover"})
    assert fit_scorer(examples, grouped(examples), hover, quiet) is None


@pytest.mark.slow
def test_a_known_scorer_stays_where_nothing_better_is_learnt(examples: dict[str, Example]):
    """As in a fine-tuning with a handful of images."""
    fitted = fit_scorer(examples, grouped(examples), REPRESENTATION, quiet)
    assert fitted is not None
    few = {"other0": scene(50), "other1": scene(51)}
    kept = choose_scorer(few, (("other0",), ("other1",)), REPRESENTATION, fitted.scorer, quiet)
    assert kept is not None
    assert kept.scorer.layers is fitted.scorer.layers
    assert kept.scorer.score > 0.9
    none = replace(fitted.scorer, least=1.0)
    again = choose_scorer(examples, grouped(examples), REPRESENTATION, none, quiet)
    assert again is not None
    assert again.scorer.score == fitted.scorer.score
    hover = read_representation({"kind": "hover"})
    assert choose_scorer(few, (), hover, fitted.scorer, quiet) is None


def test_iou_of_every_node_with_its_best_partner():
    _, truth = scene(0)
    maps, _ = scene(0)
    inside, core, border = (maps[name][0] for name in ("nuclei", "shrunk", "borders"))
    regions = nested_regions(inside, core - border, border - inside, 0.5)
    truth = truth.copy()
    truth[:60, :70] = -1
    iou, annotated = best_iou(regions, truth)
    known = truth >= 0
    for node in range(1, len(regions.parents)):
        below = {node}
        for other in range(node - 1, 0, -1):
            if int(regions.parents[other]) in below:
                below.add(other)
        mask = np.isin(regions.fragments, list(below)) & known
        assert annotated[node] == mask.any()
        best = 0.0
        for id_ in np.unique(truth[mask]):
            if id_ > 0:
                true = truth == id_
                best = max(best, (mask & true).sum() / (mask | true).sum())
        assert iou[node] == pytest.approx(best)


def test_images_of_one_field_stay_together():
    samples = [Sample(f"im{i}", (), group=f"field{i // 3}") for i in range(12)]
    groups = deal(samples, 0)
    assert len(groups) == 4
    for group in groups:
        assert len({int(id_[2:]) // 3 for id_ in group}) == 1
    assert deal(samples[:3], 0) == ()


@pytest.mark.slow
def test_a_shipped_model_is_tuned_to_the_samples(tmp_path):
    """The model's own choice competes, so that tuning never makes it worse on these images."""
    samples = Path(str(files("morula"))) / "samples"
    summary = tune_model("generalist", samples, tmp_path / "tuned", select={"modality": {"fluorescence"}})
    assert summary.after["scores"]["dsb"]["value"] >= summary.before["scores"]["dsb"]["value"]
    tuned = Model.load(tmp_path / "tuned")
    assert (tuned.scorer is not None) == ("regions" in summary.how)
    # The samples are few: a choice learnt from them alone would be learnt by heart.
    first = next((samples / "images").glob("fluorescence-sparse*"))
    assert tuned.segment(read_image(first)).labels.max() > 3


@pytest.mark.slow
def test_a_training_keeps_a_scorer_only_where_it_wins(tmp_path, monkeypatch):
    """The chain from prepared images to ``scorer.safetensors``; the network sees squares on noise."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    for i in range(8):
        truth = scene(i)[1]
        image = (truth > 0) * 120 + rng.normal(40, 10, truth.shape)
        tifffile.imwrite(root / "images" / f"im{i}.tif", image.clip(0, 255).astype(np.uint8))
        write_labels(root / "labels" / f"im{i}.tif", truth)
    small = ("training.steps=3", "training.batch_size=1", "training.patch_size=[64, 64]")
    network = 'network={kind="residual_unet", features=[8, 16], blocks=[1, 1]}'
    asked = Request(data=str(root), recipe="auto", folds=2, overrides=(*small, network))
    offered = []

    def offer(score: float):
        def fit(examples, groups, representation, known, progress, teachers):
            fitted = choose_scorer(examples, groups, representation, known, progress, teachers)
            assert fitted is not None
            offered.append(set(examples) == {id_ for group in groups for id_ in group})
            return replace(fitted, scorer=replace(fitted.scorer, score=score))

        return fit

    for name, score in (("worse", -1.0), ("better", 2.0)):
        monkeypatch.setattr("morula.training.decoder.choose_scorer", offer(score))
        train(tmp_path / name, asked)
    assert offered == [True, True]
    assert Model.load(tmp_path / "worse").scorer is None
    kept = Model.load(tmp_path / "better").scorer
    assert kept is not None
    assert sorted(id_ for ids in kept.unseen for id_ in ids) == [f"im{i}" for i in range(8)]
    assert "chosen among nested regions" in (tmp_path / "better" / "report.html").read_text()
    printed = Request(**{**asked.model_dump(), "overrides": (*small, network, "inference.scorer=false")})
    train(tmp_path / "printed", printed)
    assert len(offered) == 2


def test_nothing_is_learnt_where_one_group_holds_all_objects(examples: dict[str, Example]):
    """Each perceptron leaves a group out: the one that is left here shows next to nothing."""
    empty = {name: np.zeros_like(maps) for name, maps in scene(0)[0].items()}
    several = {**examples, "dark": (empty, np.zeros((SIDE, SIDE), np.int32))}
    groups = (tuple(sorted(examples)), ("dark",))
    assert fit_scorer(several, groups, REPRESENTATION, quiet) is None
