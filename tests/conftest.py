import os

# Before torch is imported: tiny networks are slower on several threads, far slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

from synthetic import touching_balls

# A busy machine is no error.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def labels(request: pytest.FixtureRequest) -> np.ndarray:
    return touching_balls(request.param, shape=64 if request.param == 2 else 48)
