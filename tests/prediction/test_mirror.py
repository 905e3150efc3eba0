import numpy as np
import pytest
import torch

from morula.prediction.mirror import mirror_back, mirror_batch, mirrorings
from morula.representations import Head, mirror


def test_all_mirror_images_or_none():
    assert len(mirrorings(3, "all")) == 8
    assert mirrorings(3, "none") == ((),)
    assert mirrorings(3, "opposite") == ((), (0, 1, 2))


@pytest.mark.parametrize("axes", mirrorings(2, "all"))
def test_brings_scalars_offsets_and_rays_back_by_the_rule_of_training(axes: tuple[int, ...]):
    angles = np.arange(8) * np.pi / 4
    rays = tuple((float(np.sin(a)), float(np.cos(a))) for a in angles)
    heads = [
        Head("scalar", 3, "softmax"),
        Head("offsets", 2, "identity", directions=((1.0, 0.0), (0.0, 1.0))),
        Head("rays", 8, "identity", directions=rays),
    ]
    for head in heads:
        maps = np.random.default_rng(0).normal(size=(head.channels, 5, 6)).astype(np.float32)
        mirrored = maps
        for axis in axes:
            mirrored = mirror(mirrored, head, axis)
        back = mirror_back(torch.from_numpy(mirrored.copy())[None], head, axes)[0].numpy()
        np.testing.assert_allclose(back, maps, atol=1e-6)


def test_mirrors_spatial_axes_only():
    batch = torch.arange(12.0).reshape(1, 2, 2, 3)
    assert mirror_batch(batch, (1,))[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert mirror_batch(batch, ()) is batch
