"""Equal budgets on a machine that will not be quiet: measure now, note the numbers of steps, train later.

    python benchmarks/pace.py DATA -o PACE --budget 45m --select fold=1,2,3 --recipes auto stardist hover
    morula compare DATA -o OUT --fold 0 --recipes PACE/*.toml

`morula compare --budget` measures each recipe when its turn comes, so what else runs at that moment decides
how long it is trained. Here every recipe is measured by the same rule (`morula.training.pace`: checks, looks
and scoring count too), one after the other, while nothing else runs. PACE/NAME.toml is the recipe with its
number of steps. Variants are written too: ``--variant plain=nnunet-sdm representation.distance=false``. What
holds for all, such as ``--set task=semantic``, is given to both commands. PACE/pace.json holds the times.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from morula.cli.options import parse_selection
from morula.data.files import write_text
from morula.planning.budget import parse_budget
from morula.planning.planner import merge, parse_overrides, read_recipe
from morula.spec import dump_toml
from morula.training.pace import fix_steps
from morula.training.run import Request, Run, folds_of, plan_run, start_run


def measure(options: argparse.Namespace, name: str, recipe: str, changes: Sequence[str]) -> Run:
    """A planned run whose budget has become a number of steps."""
    started, folder = time.monotonic(), options.out / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    select = {column: tuple(sorted(values)) for column, values in parse_selection(options.select).items()}
    request = Request(
        data=str(options.data.resolve()),
        recipe=recipe,
        overrides=(*options.set, *changes),
        select=select,
        budget_s=options.budget,
    )
    run = start_run(folder, request)
    plan_run(run)
    fix_steps(run, folds_of(run), run.prepare(), options.device, started)
    shutil.rmtree(folder / "prepared")
    return run


def read_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="*", default=[], help="shipped, or TOML files")
    parser.add_argument("--variant", nargs="+", action="append", default=[], metavar="NAME=RECIPE KEY=VALUE")
    parser.add_argument("--budget", type=parse_budget, required=True, help="of each, such as 45m")
    parser.add_argument("--select", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    """Measure, write and print."""
    options = read_options()
    chosen: dict[str, tuple[str, list[str]]] = {Path(name).stem: (name, []) for name in options.recipes}
    for first, *changes in options.variant:
        name, _, recipe = first.partition("=")
        chosen[name] = (recipe, changes)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    times = {}
    for name, (recipe, changes) in chosen.items():
        run = measure(options, name, recipe, changes)
        times[name] = json.loads((run.folder / "budget.json").read_text(encoding="utf-8"))
        pace = f"{times[name]['step_s']:.3f} s a step"
        steps = {"training": {"steps": times[name]["steps"]}}
        text = dump_toml(merge(merge(read_recipe(recipe), parse_overrides(changes)), steps))
        write_text(options.out / f"{name}.toml", f"# {recipe}: {pace}, {options.budget:.0f} s\n{text}")
        write_text(options.out / "pace.json", json.dumps(times, indent=1) + "\n")
        print(f"{name}: {pace}, {times[name]['steps']} steps", flush=True)


if __name__ == "__main__":
    main()
