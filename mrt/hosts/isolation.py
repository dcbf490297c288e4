"""Global state that hosts' attacks use as their own: seeded while they run, and put back afterwards."""

from __future__ import annotations

import itertools
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def isolate_globals(seed: int) -> Iterator[None]:
    """Python's, numpy's and torch's global generators start from `seed` inside, every RandomState made without a seed
    follows from it, the host's own warnings are not shown, and afterwards those generators and the trace function are
    what they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    trace = sys.gettrace()  # AutoAttack removes it, and with it a debugger or a measurement of coverage
    original = np.random.RandomState
    number = itertools.count(1)

    # ART's decision-based attacks draw from generators of their own, which nobody can seed.
    class SeededRandomState(original):  # type: ignore[misc, valid-type]
        def __init__(self, own_seed: Any = None) -> None:
            super().__init__((seed + next(number)) % 2**32 if own_seed is None else own_seed)

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    # Without a GPU in use none is asked for its random state, which would only start it.
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a host's remarks on its own code; turned into errors they would end it
        try:
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            setattr(np.random, "RandomState", SeededRandomState)  # noqa: B010 - a type, to mypy
            yield
        finally:
            setattr(np.random, "RandomState", original)  # noqa: B010
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            if sys.gettrace() is not trace:
                sys.settrace(trace)
