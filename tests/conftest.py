"""Settings for every test: one thread a process, properties without a deadline on shared machines, short searches."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator

import hypothesis
import pytest
import torch

from mrt.evaluation import reliability
from mrt.stopping import SIGNALS
from tests import apart

apart.ALL_QUERIES = reliability.QUERIES  # as a user's evaluation has them, before they are made few

for number in SIGNALS:  # nohup has had some ignored, and a shell's & the next one
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
os.environ.setdefault("NUMBA_OPT", "0")  # Brendel&Bethge is compiled for a handful of images
hypothesis.settings.register_profile("here", deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("here"), derandomize=True)
hypothesis.settings.register_profile(  # no search for the smallest failure: for mutants, where any will do
    "first", hypothesis.settings.get_profile("ci"), phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "here"))


@pytest.fixture(scope="session", autouse=True)
def imports_are_no_garbage() -> None:
    """The collector does not look again at what was imported. Recording a graph begins with a collection, which took a
    third of a second each time and now takes a few milliseconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def pickles_stay_out_of_the_home_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """ART writes the weights of every classifier that is pickled into a folder of its own, in the user's home."""
    if (config := sys.modules.get("art.config")) is not None:
        vars(config)["ART_DATA_PATH"] = str(tmp_path_factory.mktemp("art"))


@pytest.fixture
def short_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoAttack takes a tenth of its steps, whoever calls it: for tests of what reaches it and of what is made of its
    results, not of its strength. A budget that sets their number sets it over
    this one."""
    import pyautoattack

    monkeypatch.setattr(pyautoattack.AutoAttack, "__init__", apart.in_few_steps(pyautoattack.AutoAttack.__init__))


@pytest.fixture(scope="session", autouse=True)
def few_queries() -> Iterator[None]:
    """Every evaluation ends with a random search for gradient masking, which is most of a small one. Here it is short;
    evaluation/test_reliability.py, which is about it, puts it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reliability, "QUERIES", apart.QUERIES)
        yield
    apart.end()
