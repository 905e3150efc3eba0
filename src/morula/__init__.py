"""Morula: self-configuring instance segmentation for biomedical images.

The public names are imported on first use, so that ``import morula`` is instant and whoever only wants
metrics never waits for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from morula.data.check import check
    from morula.data.dataset import Dataset
    from morula.data.formats import as_image, read_image, read_labels, write_labels
    from morula.data.layouts import open_dataset
    from morula.errors import InputError
    from morula.evaluation.evaluate import evaluate
    from morula.planning.fingerprint import Fingerprint
    from morula.planning.plan import Plan
    from morula.prediction.model import Model
    from morula.prediction.predict import predict
    from morula.representations.base import Representation
    from morula.training.compare import compare
    from morula.training.run import Request, plan_run, start_run
    from morula.training.selftrain import selftrain
    from morula.training.train import train

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "data.dataset",
    "Fingerprint": "planning.fingerprint",
    "InputError": "errors",
    "Model": "prediction.model",
    "Plan": "planning.plan",
    "Representation": "representations.base",
    "Request": "training.run",
    "as_image": "data.formats",
    "check": "data.check",
    "compare": "training.compare",
    "evaluate": "evaluation.evaluate",
    "open_dataset": "data.layouts",
    "plan_run": "training.run",
    "predict": "prediction.predict",
    "read_image": "data.formats",
    "read_labels": "data.formats",
    "selftrain": "training.selftrain",
    "start_run": "training.run",
    "train": "training.train",
    "write_labels": "data.formats",
}

__all__ = [
    "Dataset",
    "Fingerprint",
    "InputError",
    "Model",
    "Plan",
    "Representation",
    "Request",
    "as_image",
    "check",
    "compare",
    "evaluate",
    "open_dataset",
    "plan_run",
    "predict",
    "read_image",
    "read_labels",
    "selftrain",
    "start_run",
    "train",
    "write_labels",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'morula' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"morula.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
