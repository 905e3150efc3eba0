"""Verbs that list what there is."""

from morula.cli.terminal import show_table


def recipes() -> None:
    """List the recipes that a plan can start from."""
    from morula.planning.planner import recipes as known

    show_table(("recipe", "what"), known().items())


def models() -> None:
    """List the models that ship with Morula."""
    from morula.prediction.shipped import models as known

    show_table(("model", "what"), known().items())
