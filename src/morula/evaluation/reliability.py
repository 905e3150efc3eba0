"""How far predictions of an unlabelled image can be trusted: they agree over the checkpoints of a training.

Selective re-training of ST++ (Yang et al. 2022, https://arxiv.org/abs/2106.05095, section 3.3), with F1 over
objects in place of the mean IoU over classes (system D).
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from morula.data.files import write_atomic
from morula.errors import InputError
from morula.labels.matching import match
from morula.types import Labels

_COLUMNS = ("image", "reliability", "objects", "agreement", "failure")


@dataclass(frozen=True)
class Reliability:
    """How stable the predictions of one image were."""

    image: str
    """Its id."""

    agreement: tuple[float, ...] = ()
    """F1 at IoU 0.5 of each earlier checkpoint's prediction with the last one's."""

    objects: int = 0
    """Objects in the last prediction."""

    failure: str = ""
    """Why there is no prediction."""

    @property
    def value(self) -> float:
        """Mean agreement, 0 to 1; 0 without a prediction."""
        return sum(self.agreement) / len(self.agreement) if self.agreement else 0.0


def agreement(predictions: Sequence[Labels]) -> tuple[float, ...]:
    """F1 at IoU 0.5 of each earlier prediction with the last one.

    Where neither finds anything it is 0: that checkpoints agree on nothing is no sign that they are right.

    Args:
        predictions: Labels ``(*spatial)`` by every checkpoint, in the order of the training; two or more.
    """
    *earlier, last = predictions
    counts = [match(last, labels)[0] for labels in earlier]
    return tuple(count.f1 if count.tp else 0.0 for count in counts)


def most_reliable(rows: Iterable[Reliability], share: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of the best `share` of the images (rounded up) and of the rest, the most reliable first.

    Images without a prediction are in neither.
    """
    ordered = sorted((row for row in rows if not row.failure), key=lambda row: (-row.value, row.image))
    # 0.3 of ten images are three, whatever the floating point says.
    count = math.ceil(share * len(ordered) - 1e-9)
    return tuple(row.image for row in ordered[:count]), tuple(row.image for row in ordered[count:])


def write_reliability(path: Path, rows: Iterable[Reliability]) -> None:
    """Write the table as CSV, the most reliable image first.

    Raises:
        InputError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in sorted(rows, key=lambda row: (bool(row.failure), -row.value, row.image)):
        parts = " ".join(f"{value:.6g}" for value in row.agreement)
        writer.writerow((row.image, f"{row.value:.4f}", row.objects, parts, row.failure))
    with write_atomic(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def read_reliability(path: Path) -> list[Reliability]:
    """What `write_reliability` wrote; nothing when there is no such file.

    Raises:
        InputError: The file is something else.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                Reliability(
                    row["image"],
                    tuple(float(value) for value in row["agreement"].split()),
                    int(row["objects"]),
                    row["failure"],
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, KeyError, ValueError, AttributeError, csv.Error) as error:
        msg = f"{path} is no table of reliabilities ({error}). Delete it: it is measured again."
        raise InputError(msg) from error
