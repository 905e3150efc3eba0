import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from morula.errors import InputError
from morula.training.batches import Patches
from morula.training.checkpoint import save_weights
from morula.training.loop import (
    Trainer,
    build_network,
    build_optimizer,
    seconds_per_step,
    step_loss,
    train_fold,
)
from morula.training.validation import looker
from training.small import AUGMENTED, prepared, small_plan


class KilledError(Exception):
    pass


def weights_of(folder):
    return load_file(folder / "checkpoint.safetensors")


def identical(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("kind", "frozen"), [("sgd", 0.0), ("adam", 0.5), ("adamw", 0.0)])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, monkeypatch, kind, frozen):
    monkeypatch.setattr("morula.training.loop.CHECKPOINT_SECONDS", 0.0)
    samples = prepared(tmp_path / "data")
    changes = {"optimizer": {"kind": kind}, "schedule": {"frozen": frozen}}
    plan = small_plan(augmentation=AUGMENTED, **changes)
    validate = looker(plan, samples[:1])
    train_fold(plan, samples, tmp_path / "whole", validate=validate)

    def kill(done: int, total: int) -> None:
        if done == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train_fold(plan, samples, tmp_path / "killed", validate=validate, progress=kill)
    resumed = train_fold(plan, samples, tmp_path / "killed", validate=validate)
    assert resumed.steps == plan.training.steps
    assert identical(weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed"))
    journals = [(tmp_path / name / "journal.jsonl").read_text() for name in ("whole", "killed")]
    assert journals[0] == journals[1]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    samples = prepared(tmp_path / "data")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_fold(small_plan(steps=3, seed=seed), samples, tmp_path / name)
    assert identical(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    assert not identical(weights_of(tmp_path / "a"), weights_of(tmp_path / "c"))


def test_training_again_changes_nothing(tmp_path):
    samples = prepared(tmp_path / "data")
    plan = small_plan(steps=3)
    train_fold(plan, samples, tmp_path / "run")
    before = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    assert train_fold(plan, samples, tmp_path / "run").steps == 3
    # The seconds that it took included.
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == before


def test_the_loss_falls(tmp_path):
    samples = prepared(tmp_path / "data")
    plan = small_plan(steps=60, optimizer={"learning_rate": 3e-3})
    train_fold(plan, samples, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert sum(lines[0]["terms"].values()) == pytest.approx(lines[0]["loss"], rel=1e-3)


def test_another_plan_does_not_go_on_with_the_checkpoint(tmp_path):
    samples = prepared(tmp_path / "data")
    train_fold(small_plan(steps=2), samples, tmp_path / "run")
    with pytest.raises(InputError, match="another plan"):
        train_fold(small_plan(steps=3), samples, tmp_path / "run")


def test_a_damaged_checkpoint_is_named(tmp_path):
    samples = prepared(tmp_path / "data")
    train_fold(small_plan(steps=2), samples, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        train_fold(small_plan(steps=2), samples, tmp_path / "run")


def test_patience_stops_early_and_keeps_the_best_weights(tmp_path):
    samples = prepared(tmp_path / "data")
    scores = iter([0.5, 0.4, 0.3, 0.9])
    result = train_fold(
        small_plan(steps=40, validate_every=2, patience=2),
        samples,
        tmp_path / "run",
        validate=lambda network: {"score": next(scores)},
    )
    assert (result.steps, result.best) == (6, {"score": 0.5})


def test_among_equal_scores_the_later_weights_are_kept(tmp_path):
    plan = small_plan(steps=4, validate_every=2)
    samples = prepared(tmp_path / "data")
    result = train_fold(plan, samples, tmp_path / "run", validate=lambda network: {"score": 0.0})
    checkpoint = weights_of(tmp_path / "run")
    kept = load_file(result.weights)
    assert all(torch.equal(kept[name], checkpoint[f"average.{name}"]) for name in kept)


def test_an_exploding_loss_is_said_to_the_user(tmp_path):
    samples = prepared(tmp_path / "data")
    plan = small_plan(steps=30, gradient_clip=1e30, optimizer={"kind": "sgd", "learning_rate": 1e12})
    with pytest.raises(InputError, match="learning_rate"):
        train_fold(plan, samples, tmp_path / "run")


def test_unannotated_pixels_have_no_gradient(tmp_path):
    samples = prepared(tmp_path / "data", count=1)
    labels = np.load(samples[0].labels)
    labels[:] = -1
    np.save(samples[0].labels, labels)
    plan = small_plan(augmentation={"flip": 0, "rotate": 0, "zoom_probability": 0, "elastic": 0})
    trainer = Trainer(plan, tmp_path, "cpu", None)
    terms = step_loss(plan, trainer.network, Patches(plan, samples).batch(0), "cpu")
    torch.stack(list(terms.values())).sum().backward()
    assert all(not p.grad.any() for p in trainer.network.parameters() if p.grad is not None)


@pytest.mark.parametrize("network", [{"kind": "plain_unet", "features": (8, 16, 32)}, None])
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_network_trains_in_2d_and_3d(tmp_path, ndim, network):
    samples = prepared(tmp_path / "data", ndim=ndim, count=2)
    patch = (16,) * ndim if ndim == 3 else (32,) * ndim
    plan = small_plan(ndim, network=network, steps=2, patch_size=patch)
    result = train_fold(plan, samples, tmp_path / "run", validate=looker(plan, samples[:1]))
    assert 0 <= result.best["score"] <= 1


def test_fine_tuning_starts_from_the_given_weights(tmp_path):
    plan = small_plan()
    trainer = Trainer(plan, tmp_path, "cpu", None)
    start = {name: tensor + 1 for name, tensor in trainer.network.state_dict().items()}
    tuned = Trainer(plan, tmp_path, "cpu", start)
    assert identical(dict(tuned.network.state_dict()), start)


def test_a_frozen_encoder_learns_only_later(tmp_path):
    samples = prepared(tmp_path / "data")
    plan = small_plan(steps=4, schedule={"frozen": 0.5, "warmup": 0.0})
    trainer, patches = Trainer(plan, tmp_path, "cpu", None), Patches(plan, samples)
    encoder = trainer.network.get_submodule("encoder")
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    inside = {f"encoder.{name}" for name in encoder.state_dict()}
    for step in range(3):
        trainer.step(patches.batch(step))
        after = trainer.network.state_dict()
        changed = {name for name in after if not torch.equal(before[name], after[name])}
        if step < 2:
            # Neither weights nor the statistics of its norms.
            assert not changed & inside
            assert changed
        else:
            assert changed >= inside


def test_decay_spares_offsets(tmp_path):
    plan = small_plan()
    network = Trainer(plan, tmp_path, "cpu", None).network
    groups = build_optimizer(plan.training.optimizer, network).param_groups
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert groups[1]["weight_decay"] == 0


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_the_trial_ends_with_the_training_or_when_it_took_long_enough(tmp_path, monkeypatch, steps):
    monkeypatch.setattr("morula.training.loop.TRIAL_SECONDS", 0.0)
    seen = []
    monkeypatch.setattr(Trainer, "step", lambda self, batch: seen.append(self.state["step"]))
    assert seconds_per_step(small_plan(steps=steps), prepared(tmp_path / "data")) > 0
    assert seen == [steps // 2] * min(8, steps - steps // 2)


def test_measuring_the_speed_leaves_the_random_state_alone(tmp_path):
    samples = prepared(tmp_path / "data")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert seconds_per_step(small_plan(), samples) > 0
    assert torch.equal(torch.rand(1), expected)


def test_an_encoder_is_read_once_when_a_training_starts_afresh(tmp_path):
    samples = prepared(tmp_path / "data", count=1)
    path = tmp_path / "encoder.safetensors"
    network = {"kind": "resnet_unet", "width": 0.125, "encoder_weights": str(path)}
    plan = small_plan(network=network, steps=1, patch_size=(32, 32))
    donor = small_plan(network=network, seed=5)
    save_weights(path, build_network(donor).get_submodule("encoder").state_dict())
    trainer = Trainer(plan, tmp_path / "run", "cpu", None)
    encoder = trainer.network.get_submodule("encoder").state_dict()
    assert identical(encoder, load_file(path))
    train_fold(plan, samples, tmp_path / "run")
    path.unlink()
    resumed = train_fold(plan, samples, tmp_path / "run")
    assert resumed.steps == 1
    with pytest.raises(InputError, match="encoder_weights"):
        train_fold(plan, samples, tmp_path / "other")


def test_anisotropic_levels_are_supervised_on_their_own_grids(tmp_path):
    samples = prepared(tmp_path / "data", ndim=3, count=1)
    network = {
        "kind": "plain_unet",
        "features": (4, 8, 8),
        "strides": ((1, 2, 2), (2, 2, 2)),
        "kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    }
    plan = small_plan(3, network=network, steps=1, patch_size=(6, 16, 16))
    trainer = Trainer(plan, tmp_path, "cpu", None)
    terms = step_loss(plan, trainer.network.train(), Patches(plan, samples).batch(0), "cpu")
    assert all(torch.isfinite(value) for value in terms.values())


class TwoScales(torch.nn.Module):
    """What a network with deep supervision gives: every map at full and at half resolution."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, image):
        sizes = [image.shape[2:], [n // 2 for n in image.shape[2:]]]
        return [{h.name: torch.zeros(len(image), h.channels, *size) for h in self.heads} for size in sizes]


def test_each_coarser_scale_weighs_half_and_sees_every_second_pixel(tmp_path):
    """nnU-Net's deep supervision: weights 1 and 1/2, together 1; targets on the output's own grid."""
    plan = small_plan(steps=1)
    plan = plan.model_copy(update={"training": plan.training.model_copy(update={"precision": "float32"})})
    batch = Patches(plan, prepared(tmp_path / "data", count=1)).batch(0)
    network = TwoScales(plan.representation.heads(2))
    found = step_loss(plan, network, batch, "cpu")
    expected: dict[str, float] = {}
    for logits, weight, step in zip(network(batch.image), (2 / 3, 1 / 3), (1, 2), strict=True):
        targets = {name: value[:, :, ::step, ::step] for name, value in batch.targets.items()}
        terms = plan.representation.loss(logits, targets, batch.annotated[:, :, ::step, ::step])
        for name, value in terms.items():
            expected[name] = expected.get(name, 0.0) + weight * float(value)
    assert {name: pytest.approx(float(value)) for name, value in found.items()} == expected


@pytest.mark.parametrize(
    ("kind", "family"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_optimiser_is_what_the_plan_names(kind, family):
    spec = small_plan(optimizer={"kind": kind, "learning_rate": 0.25, "momentum": 0.99}).training.optimizer
    optimizer = build_optimizer(spec, torch.nn.Conv2d(1, 1, 3))
    assert type(optimizer) is family
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    if kind == "sgd":
        assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.99, True)}
