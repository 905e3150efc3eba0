"""Verbs that use a model: demo, predict, evaluate, receptive-field."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morula.cli.failures import exit_with_failures, show_warnings
from morula.cli.options import (
    Axes,
    Channels,
    Device,
    OutFolder,
    PixelSize,
    Selection,
    parse_diameter,
    parse_names,
    parse_pixel_size,
    parse_selection,
)
from morula.cli.scores import parse_iou, show_comparison, show_levels, show_scores
from morula.cli.terminal import Progress, fail, say, shorten, show_table
from morula.errors import InputError

if TYPE_CHECKING:
    from morula.prediction.record import PredictSummary


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder to write.")] = Path(
        "morula-demo"
    ),
) -> None:
    """Segment the sample images that ship with Morula, and score the result."""
    from importlib.resources import as_file, files

    from morula.evaluation.evaluate import evaluate as score
    from morula.evaluation.report import PredictReport, render_report
    from morula.planning.machine import give_memory_back
    from morula.prediction.predict import predict as segment

    give_memory_back()
    with Progress() as progress, as_file(files("morula") / "samples") as samples:
        segment([samples / "images"], out, progress=progress("predict"))
        render_report(PredictReport.load(out), out / "report.html")
        metrics = score(out, samples, out / "scores", progress=progress("evaluate"))
    show_table(
        ("image", "true objects", "found", "AP@.5", "DSB score"),
        [
            (row["id"], row["n_truth"], row["n_predicted"], row["ap_50"], row["dsb"])
            for row in sorted(metrics["images"], key=lambda row: row["id"])
        ],
    )
    say(f"Labels, overlays, measurements: {out}")
    say(f"Look at {out / 'report.html'} and {out / 'scores' / 'report.html'}")


def predict(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Image files and folders of images.")
    ],
    out: OutFolder,
    model: Annotated[
        str, typer.Option(metavar="NAME|RUN", help="A shipped model or a run folder.")
    ] = "generalist",
    axes: Axes = None,
    channels: Channels = None,
    only_channel: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Look at this channel alone, by its name or number from 0, as if the image were grey; all "
            "are measured.",
        ),
    ] = None,
    pixel_size: PixelSize = None,
    diameter: Annotated[
        str,
        typer.Option(
            metavar="PX|auto|trained",
            help="Typical object diameter in pixels; auto estimates the scale of each image, trained keeps "
            "that of the training images.",
        ),
    ] = "auto",
    device: Device = "cpu",
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="torch, openvino, openvino-int8, onnxruntime; auto: the fastest.",
        ),
    ] = "auto",
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="none|opposite|all",
            help="Mirror images to average over: 1, 2 or 4 passes (3D: 8), each exacter and slower than the "
            "one before. As the model's plan says unless given.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Images under way beside the first."),
    ] = 1,
    export: Annotated[
        str | None, typer.Option(metavar="roi,geojson", help="Also write ImageJ ROIs or QuPath GeoJSON.")
    ] = None,
) -> None:
    """Find the objects in images: labels, overlays, measurements and a report.

    Images that are finished already are skipped when the command is run again.
    """
    from morula.evaluation.report import PredictReport, render_report
    from morula.planning.machine import give_memory_back
    from morula.prediction.predict import predict as segment

    give_memory_back()
    with Progress() as progress:
        summary = segment(
            images,
            out,
            model=model,
            axes=axes,
            channels=parse_names(channels),
            only_channel=only_channel,
            pixel_size=parse_pixel_size(pixel_size),
            diameter=parse_diameter(diameter),
            device=device,
            engine=engine,
            mirror=mirror,
            workers=workers,
            export=parse_names(export) or (),
            progress=progress("predict"),
        )
    render_report(PredictReport.load(out), out / "report.html")
    before = f", {summary.skipped} of them before" if summary.skipped else ""
    objects = sum(row.n_objects for row in summary.rows)
    say(f"{summary.done} of {len(summary.rows)} images done{before}; {objects} objects.")
    for note in summary.notes:
        fail(note, style="yellow")
    if summary.zooms:
        low, high = min(summary.zooms), max(summary.zooms)
        by = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        say(f"{len(summary.zooms)} resampled by {by}, to the scale that the model knows.")
    if summary.stains:
        colours = ", ".join(sorted(set(summary.stains)))
        say(
            f"Composites of stains, looked at in one colour alone: {len(summary.stains)} ({colours});"
            " --only-channel chooses another."
        )
    _show_first(summary, out)
    say(f"Report: {out / 'report.html'}")
    show_warnings(summary.warnings)
    exit_with_failures(summary.failed, nothing_done=summary.done == 0)


def _show_first(summary: "PredictSummary", out: Path, most: int = 10) -> None:
    """The images that should be looked at, the least reliable first, and why."""
    from morula.prediction.reliability import look_first

    listed = look_first([asdict(row) for row in summary.rows])
    if not listed:
        return
    say(f"Look at these first ({len(listed)} of {len(summary.rows)} images):")
    show_table(
        ("image", "objects", "reliability", "why"),
        [(row["id"], row["n_objects"], row["reliability"], "; ".join(why)) for row, why in listed[:most]],
    )
    if len(listed) > most:
        say(f"{len(listed) - most} more: see {out / 'images.csv'} or the report.")


def evaluate(
    predicted: Annotated[
        Path, typer.Argument(metavar="PREDICTED", help="What predict wrote, or a folder of label images.")
    ],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="A data set, or a folder of label images.")],
    out: OutFolder,
    strict: Annotated[bool, typer.Option("--strict", help="Match at IoU > t (DSB 2018), not >= t.")] = False,
    iou: Annotated[
        str | None,
        typer.Option(metavar="T[,T...]", help="IoU thresholds to score at beside 0.5, 0.55 ... 0.95."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Scores by this column of index.csv; may be repeated."),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="Another prediction to test against.")
    ] = None,
    select: Selection = None,
) -> None:
    """Score predicted labels against true ones, with confidence intervals."""
    from morula.evaluation.evaluate import evaluate as score

    levels = parse_iou(iou)
    with Progress() as progress:
        metrics = score(
            predicted,
            truth,
            out,
            strict=strict,
            iou=levels,
            by=by or (),
            compare=compare,
            select=parse_selection(select),
            progress=progress("evaluate"),
        )
    show_scores(metrics)
    show_levels(metrics, levels)
    if "comparison" in metrics:
        show_comparison(metrics["comparison"])
    say(f"Report: {out / 'report.html'}")
    if not any(row.get("tp_50", 1) for row in metrics["images"]):
        _hint_at_images(predicted, truth)
    for what, names in (("prediction", metrics["without_prediction"]), ("truth", metrics["without_truth"])):
        if names:
            fail(f"{len(names)} without {what}, not scored: {shorten(names)}", style="yellow")
    exit_with_failures(metrics["failed"])


def _hint_at_images(predicted: Path, truth: Path) -> None:
    """Where nothing matches: say so if one of the first two label files looks like an image."""
    from morula.data.formats import read_labels
    from morula.evaluation.pairing import look_like_intensities, pair_files

    pairing = pair_files(predicted, truth)
    sample, file = pairing.pairs[0]
    for path in (file, *sample.labels[:1]):
        try:
            doubtful = look_like_intensities(read_labels(path))
        except InputError:
            continue
        if doubtful:
            fail(f"{path} looks like an image, not like labels: each value lies in many pieces.", "yellow")


def receptive_field(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that 'morula train' made.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Folder to write; the run itself when left out."),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Measure what one output pixel sees, and whether that covers the largest training object."""
    from morula.evaluation.receptive_field import measure_receptive_field

    with Progress() as progress:
        report = measure_receptive_field(run, out, device=device, progress=progress("measuring"))
    patch = " x ".join(str(side) for side in report.patch_px)
    longest = max(report.patch_px)
    say(f"Gradient of one output pixel, averaged over patches of {patch} px ({report.patches}):")
    rows = [
        (
            level.name,
            level.effective_px,
            level.luo_px,
            f"{'at least ' if level.theoretical_px >= longest else ''}{level.theoretical_px:g}",
        )
        for level in report.levels
    ]
    show_table(("level", "95 % of the gradient, px", "Luo et al., px", "theoretical, px"), rows)
    answer = "yes" if report.covers else "no"
    say(
        f"Largest object: {report.object_px:.0f} px. Covered by the effective field of "
        f"{report.levels[0].effective_px:.0f} px: {answer}"
    )
    say(f"Picture: {report.picture}")
