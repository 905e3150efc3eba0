"""Score labels that are in memory; no torch, no files.

python examples/score_labels_in_memory.py
"""

import numpy as np

from morula.evaluation.evaluate import score_pairs


def main() -> None:
    truth = np.zeros((64, 64), np.int32)
    truth[8:24, 8:24] = 1
    truth[32:56, 32:56] = 2
    predicted = np.zeros_like(truth)
    predicted[10:24, 8:24] = 5  # ids need not agree
    metrics = score_pairs([("an image", truth, predicted, {})])
    for name in ("ap_50", "f1_50", "pq", "dsb"):
        print(f"{name:6} {metrics['scores'][name]['value']:.3f}")
    print(f"missed: {metrics['errors']['missed']}")


if __name__ == "__main__":
    main()
