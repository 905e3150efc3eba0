"""Model folders: plan, weights and tuned fields, shipped with the package or made by training.

::

    NAME/  plan.toml            every decision
           fold_K/weights.safetensors   one network per fold (or weights.safetensors, when there is one only)
           tuned.toml           optional: decoder fields that were tuned after training
           scorer.safetensors   optional: chooses objects among nested regions
           calibration.toml     optional: from an object's score to a probability
           card.toml            optional: description = "one line"
"""

import hashlib
from importlib import resources
from pathlib import Path

from morula.errors import InputError
from morula.planning.plan import Plan
from morula.representations.tuned import read_tuned
from morula.spec import nearest, read_toml

CALIBRATION = "calibration.toml"
"""What turns scores into probabilities, see `morula.prediction.calibration`."""

SCORER = "scorer.safetensors"
"""What chooses objects among nested regions, see `morula.prediction.scorer`."""


def shelf() -> Path:
    """The folder of the models that ship with the package."""
    return Path(str(resources.files("morula"))) / "models"


def models() -> dict[str, str]:
    """Name and one-line description of every model that ships with the package."""
    found = sorted(path.parent for path in shelf().glob("*/plan.toml"))
    return {folder.name: _description(folder) for folder in found}


def _description(folder: Path) -> str:
    card = folder / "card.toml"
    return str(read_toml(card).get("description", "")) if card.exists() else ""


def find_folder(name_or_path: str | Path) -> Path:
    """The folder of a shipped model by its name, or a run folder by its path.

    A string that names a shipped model is that model; a `Path` is a folder, whatever it is called.

    Raises:
        InputError: There is neither; the message lists the shipped models.
    """
    shipped = models()
    if isinstance(name_or_path, str) and name_or_path in shipped:
        return shelf() / name_or_path
    path = Path(name_or_path)
    if (path / "plan.toml").exists():
        return path
    if path.is_dir():
        msg = f"{path} is a folder without plan.toml; a model is a run folder that `morula train` made."
        raise InputError(msg)
    msg = f"no model {nearest(str(name_or_path), list(shipped))} Give one of these names or a run folder."
    raise InputError(msg)


def refuse_shipped_name(folder: Path) -> None:
    """Refuse a folder for a model of one's own that `find_folder` would take for a shipped model.

    Raises:
        InputError: It is called so.
    """
    if str(folder) in models():
        msg = (
            f"{folder} is the name of a shipped model, which would be used in its place. Choose another name."
        )
        raise InputError(msg)


def read_plan(folder: Path) -> Plan:
    """The plan of a model folder, with the tuned decoder fields in place.

    Raises:
        InputError: A file is missing or broken, or a key or value is unknown.
    """
    plan = Plan.load(folder / "plan.toml")
    tuned = folder / "tuned.toml"
    if not tuned.exists():
        return plan
    return plan.model_copy(update={"representation": read_tuned(tuned, plan.representation)})


def weight_files(folder: Path, stem: str = "weights") -> tuple[Path, ...]:
    """The weights of every fold, in order.

    Args:
        folder: Of the model.
        stem: Which weights: ``weights`` are the best ones, ``snapshot_1`` ... those kept on the way.

    Raises:
        InputError: There are none yet.
    """
    folds = tuple(sorted(folder.glob(f"fold_*/{stem}.safetensors"), key=_fold_number))
    single = folder / f"{stem}.safetensors"
    found = folds or ((single,) if single.exists() else ())
    if not found:
        msg = f"{folder} has a plan but no fold_*/{stem}.safetensors; train it: morula train {folder}"
        raise InputError(msg)
    return found


def _fold_number(path: Path) -> tuple[int, str]:
    number = path.parent.name.removeprefix("fold_")
    return (int(number) if number.isdigit() else 0, number)


def fingerprint_of(folder: Path) -> str:
    """Twelve hexadecimal digits that change with the plan, a tuned field, a weight, scorer or calibration."""
    digest = hashlib.sha256(read_plan(folder).dumps().encode())
    optional = [path for name in (SCORER, CALIBRATION) if (path := folder / name).exists()]
    for path in (*weight_files(folder), *optional):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
