"""The command line: one verb per stage, each thin; the same functions as the Python API."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from morula.cli import compare, data, lists, prediction, selftrain, training
from morula.cli.terminal import fail
from morula.errors import InputError


class Verbs(TyperGroup):
    """Turns every error that a user can mend into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; 2 when nothing could be done, 130 when interrupted."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            fail(f"error: {error}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            fail("interrupted; run the same command again to go on", style="yellow")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            fail(f"error: {place}{error.strerror or error}. Mend that and run the same command again.")
            raise typer.Exit(2) from None


app = typer.Typer(
    name="morula",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Panels for people, plain lines for pipes.
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for verb in (
    prediction.demo,
    data.check,
    data.plan,
    data.prepare,
    training.train,
    selftrain.selftrain,
    training.tune,
    training.quantize,
    prediction.predict,
    prediction.evaluate,
    prediction.receptive_field,
    compare.compare,
    lists.recipes,
    lists.models,
):
    app.command()(verb)


def _show_version(wanted: bool) -> bool:
    if wanted:
        from morula import __version__

        typer.echo(f"morula {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Find every cell, nucleus or other object in biomedical images, and give each its own label."""


def main() -> None:
    """Entry point of the command ``morula``."""
    sys.exit(app())
