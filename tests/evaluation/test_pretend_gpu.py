"""mrt/evaluation/evaluate.py, reliability.py: `evaluate` on a pretended CUDA device."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

import mrt
from mrt.crafting.model_copy import copies_of
from mrt.evaluation import reliability as doubts
from mrt.kernels import cpu
from tests.crafting.support import ROWS, Rooted, dark_batch
from tests.pretend import pretending
from tests.support import digits_net

pytestmark = pytest.mark.skipif(cpu.library() is None, reason="the kernels' twins need a C++ compiler")

LINF, L2, L1 = (mrt.Linf(0.1), mrt.L2(0.5), mrt.L1(1.5))
RT = mrt.RotationTranslation(10, 1)
ATTACKS: dict[str, Any] = {
    "apgd": mrt.APGD(LINF, steps=3),
    "apgd-t": mrt.APGD(LINF, steps=2, loss="dlr", targets=2),
    "apgd-l1": mrt.APGD(L1, steps=3),
    "pgd": mrt.PGD(L2, steps=3, restarts=2),
    "slide": mrt.SLIDE(L1, steps=3, restarts=2),
    "msd": mrt.MSD((LINF, L2, L1), steps=2, best="broken"),
    "greedy": mrt.GreedyL0(mrt.L0(2)),
    "grid": mrt.RTGrid(RT, grid=(1, 1, 3)),
    "affine": mrt.AffineAttack(mrt.Affine((RT, L2)), k=1, steps=2, restarts=1),
}


@pytest.mark.filterwarnings("ignore:gradient masking was not looked for")  # without AutoAttack
def test_an_evaluation_there_reports_what_it_reports_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for gradient masking is left out: it is Foreign's, which a pretended device is too slow for."""
    monkeypatch.setattr(doubts, "_find_masking", lambda *_: [])
    battery = tuple(mrt.Entry(name, attack, attack.threat) for name, attack in ATTACKS.items())
    data, net = mrt.data.digits("test").take(8), copy.deepcopy(digits_net())
    how: dict[str, Any] = {"progress": False, "cascade": False, "batch_size": 8}
    here = mrt.evaluate(net, data, battery, **how)
    with pretending() as gpu:
        there = mrt.evaluate(net.to("cuda"), data, battery, device="cuda", **how)
        assert gpu.counts.launches > 0
    assert here.masks.keys() == there.masks.keys() and len(here.masks) == len(battery)
    for label, mask in here.masks.items():
        assert torch.equal(mask, there.masks[label]), label
    assert there.worst.device.type == "cpu"


COUNTS = ("forward", "backward", "undefined")


@pytest.mark.filterwarnings("ignore:gradient masking")
def test_undefined_gradients_in_a_replay_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the images that there are, and not of those that fill a recording up; of this run, and not of the one before.
    What trains or is called without an evaluator is recorded without that count."""
    monkeypatch.setattr(doubts, "_find_masking", lambda *_: [])
    attack, (x, y), counted = mrt.PGD(mrt.Linf(0.05), steps=4, random_start=False), dark_batch(13, 13), []
    for fast in (mrt.Fast(), mrt.Fast(graph=True)):
        with pretending() as gpu:
            net = Rooted(copy.deepcopy(ROWS)).to("cuda")
            battery = tuple(mrt.Entry(name, attack, attack.threat) for name in ("one", "two"))
            how: dict[str, Any] = {"device": "cuda", "batch_size": 8, "progress": False, "cascade": False}
            report = mrt.evaluate(net, (x, y), battery, fast=fast, **how)
            assert (gpu.counts.replays > 0) == fast.graph
            replace(attack, fast=fast)(net, x[:5].to("cuda"), y[:5].to("cuda"))
            recordings = [r for made in copies_of(net) for r in made.recordings.values()]
            assert [r.undefined is not None for r in recordings] == ([True, False] if fast.graph else [])
        counted.append([tuple(map(told.get, COUNTS)) for told in report.info["attacks"].values()])
    assert counted[0] == counted[1] == [(65, 52, 52)] * 2


@pytest.mark.filterwarnings("ignore:gradient masking was not looked for")  # without AutoAttack
def test_passes_that_a_replay_makes_unseen_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "_find_masking", lambda *_: [])
    names = ("apgd", "apgd-l1", "pgd", "msd")
    battery = tuple(mrt.Entry(name, ATTACKS[name], ATTACKS[name].threat) for name in names)
    data, work = mrt.data.digits("test").take(8), []
    for fast in (mrt.Fast(), mrt.Fast(graph=True)):
        with pretending() as gpu:
            net = copy.deepcopy(digits_net()).to("cuda")
            report = mrt.evaluate(net, data, battery, device="cuda", fast=fast, batch_size=8, progress=False)
            assert (gpu.counts.replays > 0) == fast.graph
        work.append({label: tuple(map(told.get, COUNTS)) for label, told in report.info["attacks"].items()})
        assert report.info["fast"] == repr(fast)
    assert work[0].keys() == work[1].keys()
    for label, plain in work[0].items():  # a recording's one more step is the evaluator's to know of, not to count
        assert plain == work[1][label], label
