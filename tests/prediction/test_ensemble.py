import threading
import time
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from exported import network_of, plan_with, weights_of
from morula.prediction.engines import accelerate
from morula.prediction.ensemble import Ensemble, in_order
from morula.prediction.tiles import tile_grid


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_made_comes_in_the_order_of_the_items(threads: int):
    def work(item: int) -> int:
        time.sleep(0.01 * (item % 3 == 0))
        return item * item

    assert list(in_order(work, range(20), threads)) == [n * n for n in range(20)]


def test_no_more_is_under_way_than_there_are_threads():
    started: list[int] = []
    made = in_order(lambda item: started.append(item) or item, count(), 3)
    assert list(islice(made, 5)) == [0, 1, 2, 3, 4]
    assert max(started) < 5 + 3
    made.close()


def test_an_error_arrives_where_the_results_are_taken():
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        return item

    made = in_order(work, range(9), 2)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(made)


def test_tiles_in_two_streams_make_the_same_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    plan = plan_with("residual", 2)
    network = network_of(plan)
    weights = weights_of(network, tmp_path)
    heads = plan.representation.heads(2)
    pixels = np.random.default_rng(0).normal(size=(len(plan.channels), 96, 80)).astype(np.float32)
    grid = tile_grid(pixels.shape[1:], (32, 32), 0.5, plan.network.divisors(2))
    assert grid.count > 4

    def maps(streams: int) -> np.ndarray:
        graph = accelerate(network, plan, weights, "openvino", streams)
        forward, meeting = graph.forward, threading.Barrier(streams, timeout=60)

        def together(*arguments):
            # Only where as many passes are under way does anybody get beyond this.
            meeting.wait()
            return forward(*arguments)

        monkeypatch.setattr(graph, "forward", together)
        bands = Ensemble((graph,), 2, "opposite").bands(pixels, grid, heads)
        return np.concatenate([band[heads[0].name] for _, band in bands], 1)

    alone = maps(1)
    np.testing.assert_allclose(maps(2), alone, atol=0.02 * np.abs(alone).max())
