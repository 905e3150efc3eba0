"""Draws the failures of a model card: the worst images of each modality, truth beside prediction.

    python benchmarks/accuracy.py dsb2018 --select fold=0 --model NAME --json FILE
    python docs/draw_failures.py FILE dsb2018 NAME

Found objects are teal, invented ones orange, missed ones magenta. Writes ``docs/images/failures-NAME.jpg``.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from morula.data.layouts import open_dataset
from morula.evaluation.pictures import draw_comparison
from morula.prediction.model import Model

PER_MODALITY, PANEL_PX, GAP_PX, TEXT_PX = 2, 300, 10, 24


def worst(metrics: dict, modality_of: dict[str, str]) -> list[tuple[str, str, float]]:
    """Modality, id and F1@0.5 of the worst images of each modality."""
    rows = sorted((modality_of[row["id"]], row["f1_50"], row["id"]) for row in metrics["images"])
    chosen: list[tuple[str, str, float]] = []
    for modality in sorted(set(modality_of.values())):
        chosen += [(name, sample, score) for name, score, sample in rows if name == modality][:PER_MODALITY]
    return chosen


def cell(comparison: np.ndarray, title: str) -> np.ndarray:
    """Both panels below a line of text, at most `PANEL_PX` high."""
    scale = min(PANEL_PX / comparison.shape[0], 2 * PANEL_PX / comparison.shape[1])
    height, width = round(comparison.shape[0] * scale), round(comparison.shape[1] * scale)
    canvas = np.full((height + TEXT_PX, 2 * PANEL_PX, 3), 255, np.uint8)
    canvas[TEXT_PX:, :width] = cv2.resize(comparison, (width, height), interpolation=cv2.INTER_AREA)
    cv2.putText(canvas, title, (0, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def beside(cells: list[np.ndarray]) -> np.ndarray:
    """One row of the picture, white where a cell is lower than its neighbour, or missing."""
    canvas = np.full((max(map(len, cells)) + GAP_PX, 4 * PANEL_PX + GAP_PX, 3), 255, np.uint8)
    for place, one in enumerate(cells):
        left = place * (2 * PANEL_PX + GAP_PX)
        canvas[: len(one), left : left + 2 * PANEL_PX] = one
    return canvas


def main(figures: Path, data: Path, name: str) -> None:
    """Write the picture."""
    metrics = json.loads(figures.read_text(encoding="utf-8"))[name]
    dataset, model = open_dataset(data), Model.load(name)
    scored = {row["id"] for row in metrics["images"]}
    samples = {sample.id: sample for sample in dataset.labelled if sample.id in scored}
    cells = []
    for modality, sample_id, score in worst(
        metrics, {k: s.attributes["modality"] for k, s in samples.items()}
    ):
        sample = samples[sample_id]
        image, truth = dataset.image(sample), dataset.labels(sample)
        picture = draw_comparison(image, truth, model.segment(image).labels)
        cells.append(cell(picture, f"{modality.replace('_', ' ')}, F1@0.5 {score:.2f}: truth, prediction"))
    rows = [beside(cells[k : k + 2]) for k in range(0, len(cells), 2)]
    target = Path(__file__).parent / "images" / f"failures-{name}.jpg"
    cv2.imwrite(
        str(target), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
