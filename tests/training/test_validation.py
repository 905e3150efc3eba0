from pathlib import Path

import numpy as np
import pytest

from morula.data.sample import Sample
from morula.training.validation import collect_examples, seconds_per_image, spread
from training.small import prepared, small_plan


def example(sample: Sample):
    return {"map": np.zeros((1, 10, 10), np.float32)}, np.zeros((10, 10), np.int32)


@pytest.mark.parametrize(("most", "count"), [(10**9, 100), (8000, 10), (8799, 10), (1, 1)])
def test_examples_are_kept_as_far_as_memory_goes(most, count):
    """An example has 800 bytes."""
    steps = []
    samples = [Sample(f"{index}", (Path("none"),)) for index in range(100)]
    kept = collect_examples(samples, example, most, lambda done, total: steps.append((done, total)))
    assert len(kept) == count
    assert steps[-1] == (100, 100)
    if count == 10:
        places = sorted(int(name) for name in kept)
        gaps = np.diff([-1, *places, 100])
        assert gaps.max() <= 20


def test_a_spread_goes_evenly_over_modalities_and_ids(tmp_path):
    samples = [Sample(f"{k}", (Path("none"),), attributes={"modality": "ba"[k % 2]}) for k in range(6)]
    assert [sample.id for sample in spread(samples, 6)] == ["1", "3", "5", "0", "2", "4"]
    assert [sample.id for sample in spread(samples, 3)] == ["1", "5", "4"]
    assert spread(samples, 0) == ()
    assert [sample.id for sample in spread(prepared(tmp_path, count=3), 9)] == [
        "sample1",
        "sample0",
        "sample2",
    ]


def test_the_time_of_an_image_is_measured(tmp_path):
    samples = prepared(tmp_path, count=2)
    assert 0 < seconds_per_image(small_plan(), samples) < 60
    assert seconds_per_image(small_plan(), ()) == 0
