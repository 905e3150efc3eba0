"""A model small enough to predict in a test, and a way to call the command line."""

from pathlib import Path

from typer.testing import CliRunner, Result

from morula.cli import app
from morula.planning.plan import Inference, Plan, Scaling, Training
from morula.training.checkpoint import save_weights
from morula.training.loop import build_network


def morula(*words: str | Path) -> Result:
    """What ``morula WORDS`` does; an error that is no message of ours is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write_model(folder: Path) -> Path:
    """A model folder with an untrained network for grey 2D images."""
    plan = Plan.model_validate(
        {
            "ndim": 2,
            "channels": ("grey",),
            "halo_px": (8, 8),
            "scaling": Scaling(diameter_px=12.0),
            "representation": {"kind": "foreground"},
            "network": {"kind": "plain_unet", "features": (8, 16)},
            "training": Training(steps=2, batch_size=1, patch_size=(32, 32)),
            "inference": Inference(tile_size=(64, 64), mirror="none"),
        }
    )

    save_weights(folder / "fold_0" / "weights.safetensors", build_network(plan).state_dict())
    (folder / "plan.toml").write_text(plan.dumps())
    return folder
