"""The training loop, all of it visible: one fold, from prepared arrays to weights."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from morula.data.files import write_text
from morula.errors import InputError
from morula.planning.plan import Optimizer, Plan
from morula.preprocessing.prepare import Prepared
from morula.training.batches import Batch, Patches, loader_threads, stream
from morula.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from morula.training.schedule import frozen_steps, rate_factor
from morula.types import Tensors

CHECKPOINT_SECONDS = 120.0
JOURNAL_STEPS = 20
TRIAL_STEPS, TRIAL_SECONDS = (8, 200), 5.0

Validate = Callable[[nn.Module], dict[str, float]]
"""Scores a network in evaluation mode; the entry ``score`` decides which weights are kept."""


@dataclass(frozen=True)
class FoldResult:
    """What training one fold came to."""

    weights: Path
    """The best weights, safetensors."""

    steps: int
    """Steps done; fewer than planned when it stopped early."""

    best: dict[str, float]
    """The validation scores of the kept weights; empty without validation images."""


def build_network(plan: Plan, device: str = "cpu") -> nn.Module:
    """The plan's network with fresh weights, the same for the same seed."""
    torch.manual_seed(plan.training.seed)
    heads = plan.representation.heads(plan.ndim)
    network: nn.Module = plan.network.build(plan.ndim, len(plan.channels), heads)
    return network.to(device, memory_format=_memory_format(plan))  # pyright: ignore[reportCallIssue]


def _memory_format(plan: Plan) -> torch.memory_format:
    return torch.channels_last if plan.ndim == 2 else torch.channels_last_3d


def build_optimizer(spec: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """The plan's optimiser; weight decay spares normalisations and offsets, as is usual for ``adamw``."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": spec.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if spec.kind == "sgd":
        return torch.optim.SGD(
            groups, lr=spec.learning_rate, momentum=spec.momentum, nesterov=spec.momentum > 0
        )
    family = torch.optim.Adam if spec.kind == "adam" else torch.optim.AdamW
    return family(groups, lr=spec.learning_rate)


def step_loss(plan: Plan, network: nn.Module, batch: Batch, device: str) -> dict[str, Tensor]:
    """Forward pass and the named loss terms, summed over the scales of deep supervision.

    Each coarser scale weighs half of the one before; all together weigh 1 (nnU-Net).
    """
    image = batch.image.to(device, memory_format=_memory_format(plan))
    low = plan.training.precision == "bfloat16"
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=low):
        outputs = network(image)
    weights = np.power(0.5, np.arange(len(outputs)))
    terms: dict[str, Tensor] = {}
    for logits, weight in zip(outputs, weights / weights.sum(), strict=True):
        targets, annotated = _at_level(batch, _steps(outputs[0], logits), device)
        scale = plan.representation.loss({k: v.float() for k, v in logits.items()}, targets, annotated)
        for name, value in scale.items():
            terms[name] = terms.get(name, 0.0) + float(weight) * value
    return terms


def _steps(finest: Tensors, logits: Tensors) -> tuple[int, ...]:
    """Pixels of the finest output per pixel of a coarser one, per axis."""
    name = next(iter(logits))
    sizes = zip(finest[name].shape[2:], logits[name].shape[2:], strict=True)
    return tuple(fine // coarse for fine, coarse in sizes)


def _at_level(batch: Batch, steps: tuple[int, ...], device: str) -> tuple[Tensors, Tensor]:
    def coarse(tensor: Tensor) -> Tensor:
        return tensor[(slice(None), slice(None), *[slice(None, None, step) for step in steps])].to(device)

    return {key: coarse(value) for key, value in batch.targets.items()}, coarse(batch.annotated)


class Trainer:
    """The state of one fold's training and the loop that advances it."""

    def __init__(self, plan: Plan, folder: Path, device: str, start_from: dict[str, Tensor] | None) -> None:
        self.plan, self.folder, self.device = plan, folder, device
        self.network = build_network(plan, device)
        if start_from is not None:
            self.network.load_state_dict(start_from)
        elif not self.checkpoint.exists():
            plan.network.load_encoder(self.network)
        self.average = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self.optimizer = build_optimizer(plan.training.optimizer, self.network)
        self.state: dict[str, Any] = {"step": 0, "best": {}, "stale": 0, "plan": plan.hash}
        self._sums: dict[str, float] = {}
        self._since = time.monotonic()

    @property
    def checkpoint(self) -> Path:
        """Where the fold goes on from."""
        return self.folder / "checkpoint.safetensors"

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.folder / "weights.safetensors"

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one; journal lines after it are dropped.

        Raises:
            InputError: The checkpoint is damaged or was made by another plan.
        """
        if not self.checkpoint.exists():
            (self.folder / "journal.jsonl").unlink(missing_ok=True)
            return
        parts = {"network": self.network, "average": self.average, "optimizer": self.optimizer}
        self.state = load_checkpoint(self.checkpoint, self.plan.hash, **parts)
        self._sums = self.state["sums"]
        journal = self.folder / "journal.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        kept = [line for line in lines if _step_of(line) <= self.state["step"]]
        write_text(journal, "".join(f"{line}\n" for line in kept))

    def save(self) -> None:
        """Write the checkpoint; it also says how many seconds the training has taken, pauses left out."""
        now = time.monotonic()
        self.state["seconds"] = self.state.get("seconds", 0.0) + now - self._since
        self._since = now
        state = {**self.state, "sums": self._sums}
        parts = {"network": self.network, "average": self.average, "optimizer": self.optimizer}
        save_checkpoint(self.checkpoint, **parts, state=state)

    def step(self, batch: Batch) -> None:
        """One optimiser step on `batch`."""
        training, step = self.plan.training, self.state["step"]
        rate = training.optimizer.learning_rate * rate_factor(training.schedule, step, training.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(training.seed * 1_000_003 + step)
        self.network.train()
        self._hold_encoder()
        terms = step_loss(self.plan, self.network, batch, self.device)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            value = float(loss.detach())
            msg = f"the loss became {value} at step {step}. Lower training.optimizer.learning_rate."
            raise InputError(msg)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), training.gradient_clip)
        self.optimizer.step()
        self._follow()
        self.state["step"] = step + 1
        self._keep_snapshot()
        for name, value in {"loss": loss, **terms}.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        if (step + 1) % JOURNAL_STEPS == 0:
            means = {name: round(value / JOURNAL_STEPS, 5) for name, value in self._sums.items()}
            self.note(loss=means.pop("loss"), terms=means, learning_rate=rate)
            self._sums = {}

    def _hold_encoder(self) -> None:
        """While it is frozen, an encoder neither learns nor updates the statistics of its norms."""
        training = self.plan.training
        if training.schedule.frozen:
            frozen = self.state["step"] < frozen_steps(training.schedule, training.steps)
            self.network.get_submodule("encoder").requires_grad_(not frozen).train(not frozen)

    def _keep_snapshot(self) -> None:
        """Keep the averaged weights whenever a further share of the steps is done."""
        training, done = self.plan.training, self.state["step"]
        number = done * training.snapshots // training.steps
        if number > (done - 1) * training.snapshots // training.steps:
            save_weights(self.folder / f"snapshot_{number}.safetensors", self.average)

    def _follow(self) -> None:
        """Moving average of the weights; it starts fast, so that early validations are not of the start."""
        decay = min(self.plan.training.ema, (1 + self.state["step"]) / (10 + self.state["step"]))
        for name, tensor in self.network.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def note(self, **facts: Any) -> None:
        """One line of the journal."""
        path = self.folder / "journal.jsonl"
        try:
            with path.open("a") as journal:
                journal.write(json.dumps({"step": self.state["step"], **facts}) + "\n")
        except OSError as error:
            msg = f"{path} cannot be written: {error.strerror}. Free space, then run the same command again."
            raise InputError(msg) from error

    def look(self, validate: Validate) -> bool:
        """Validate the averaged weights and keep the best; False when it is time to stop early."""
        with torch.random.fork_rng():
            shadow = build_network(self.plan, self.device)
        shadow.load_state_dict(self.average)
        scores = validate(shadow.eval())
        self.note(validation={name: round(value, 5) for name, value in scores.items()})
        best = self.state["best"].get("score", -1.0)
        self.state["stale"] = 0 if scores["score"] > best else self.state["stale"] + 1
        # Among equals the later weights: early in a hard training all score 0.
        if scores["score"] >= best:
            self.state["best"] = scores
            save_weights(self.weights, self.average)
        patience = self.plan.training.patience
        return not patience or self.state["stale"] < patience


def _step_of(line: str) -> int | float:
    """The step of a journal line; infinity for one that a kill cut short."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")


def train_fold(
    plan: Plan,
    samples: Sequence[Prepared],
    folder: Path,
    *,
    validate: Validate | None = None,
    device: str = "cpu",
    start_from: dict[str, Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FoldResult:
    """Train one fold, or go on with it from its checkpoint.

    Args:
        plan: All decisions; `plan.training.steps` is the length.
        samples: Prepared labelled images to train on.
        folder: Receives ``checkpoint.safetensors``, ``weights.safetensors`` and ``journal.jsonl``.
        validate: Scores the averaged weights every `plan.training.validate_every` steps; the best weights
            are kept. None: the last weights are kept.
        device: Where to train.
        start_from: A state dict to start from (fine-tuning).
        progress: Called with steps done and steps in total.

    Raises:
        InputError: The checkpoint is of another plan, or the loss is no longer finite.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder} cannot be made: {error.strerror}. Free space or choose another folder."
        raise InputError(msg) from error
    trainer = Trainer(plan, folder, device, start_from)
    trainer.restore()
    steps, saved = plan.training.steps, time.monotonic()
    going = trainer.state["step"] < steps and not trainer.state.get("stopped", False)
    patches, loaders = Patches(plan, samples), loader_threads(device)
    for batch in stream(patches, trainer.state["step"], steps, loaders=loaders) if going else ():
        trainer.step(batch)
        done = trainer.state["step"]
        if validate is not None and (done % plan.training.validate_every == 0 or done == steps):
            trainer.state["stopped"] = not trainer.look(validate)
        if progress:
            progress(done, steps)
        if trainer.state.get("stopped") or time.monotonic() - saved > CHECKPOINT_SECONDS:
            trainer.save()
            saved = time.monotonic()
        if trainer.state.get("stopped"):
            break
    if validate is None:
        save_weights(trainer.weights, trainer.average)
    # A fold that was finished before keeps its checkpoint, and with it the time that it took.
    if going:
        trainer.save()
    return FoldResult(trainer.weights, trainer.state["step"], trainer.state["best"])


def seconds_per_step(plan: Plan, samples: Sequence[Prepared], *, device: str = "cpu") -> float:
    """Measured seconds of one training step, batches included: what a budget is divided by.

    The trial is at the middle of the training: a frozen encoder learns by then, and augmentation is not
    calmed yet. Its first half does not count: it compiles kernels and fills caches.
    """
    fewest, most = TRIAL_STEPS
    start = plan.training.steps // 2
    with torch.random.fork_rng(), TemporaryDirectory() as folder:
        trainer = Trainer(plan, Path(folder), device, None)
        trainer.state["step"] = start
        ends = [time.perf_counter()]
        patches, last = Patches(plan, samples), min(start + most, plan.training.steps)
        for batch in stream(patches, start, last, loaders=loader_threads(device)):
            trainer.step(batch)
            ends.append(time.perf_counter())
            if len(ends) > fewest and ends[-1] - ends[0] > TRIAL_SECONDS:
                break
    steps = len(ends) - 1
    return (ends[-1] - ends[steps // 2]) / (steps - steps // 2)
