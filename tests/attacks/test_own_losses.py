"""mrt/crafting/losses.py (OwnLoss), mrt/attacks/ (`loss`): A loss of the user's own in every attack that climbs one."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import mrt
from mrt.config import encode
from mrt.records import identity
from tests.support import UNION, images, small_net

LINF, L2, L1 = UNION
CLIMBERS: tuple[Any, ...] = (
    mrt.PGD(LINF, steps=3, restarts=2, random_start=True),
    mrt.FGM(L1),
    mrt.FGSM(LINF),
    mrt.PGD(L2, steps=3, fast=mrt.Fast(compile=True, graph=True)),
    mrt.MIM(LINF, steps=3),
    mrt.SLIDE(L1, steps=3),
    mrt.MSD(UNION, steps=3, restarts=2),
    mrt.MSD(UNION, steps=3, fast=mrt.Fast(compile=True, reuse=True)),
    mrt.APGD(L2, steps=5),
    mrt.AffineAttack(mrt.Affine((LINF, L1)), steps=2, restarts=2),
    mrt.GreedyL0(mrt.L0(3)),
    mrt.RTGrid(grid=(2, 2, 3)),
    mrt.RTWorstOf(k=3),
    mrt.Smallest(mrt.PGD(L2, steps=3), probes=2),
)


def own_ce(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def with_loss(attack: Any, loss: Any) -> Any:
    if isinstance(attack, mrt.Smallest):
        inner: Any = attack.attack
        return replace(attack, attack=replace(inner, loss=loss))
    return replace(attack, loss=loss)


@pytest.mark.parametrize("attack", CLIMBERS, ids=lambda a: repr(a)[:60])
def test_an_own_loss_is_climbed_and_aimed_like_one_of_ours(attack: Any) -> None:
    x, net, seeds = images((1, 8, 8), 5, 0), small_net().eval(), torch.arange(5)
    y = net(x).argmax(1)
    for target in (None, (y + 1) % 5):
        want = attack(net, x, y, target=target, rng=seeds)
        assert torch.equal(with_loss(attack, own_ce)(net, x, y, target=target, rng=seeds), want)


@pytest.mark.parametrize("attack", CLIMBERS, ids=lambda a: repr(a)[:60])
def test_the_loss_decides_where_the_attack_goes(attack: Any) -> None:
    """Upside down it leads elsewhere, wherever the attack has not won at once."""
    x, net, seeds = images((1, 8, 8), 9, 0), small_net().eval(), torch.arange(9)
    y = net(x).argmax(1)
    ways = (own_ce, lambda logits, labels: -own_ce(logits, labels))
    there, back = (with_loss(attack, loss)(net, x, y, rng=seeds) for loss in ways)
    assert not torch.equal(there, back)


@pytest.mark.parametrize("attack", CLIMBERS, ids=lambda a: repr(a)[:60])
def test_every_attack_refuses_what_is_no_loss(attack: Any) -> None:
    with pytest.raises(ValueError, match=r"loss must be one of 'ce', 'margin', 'dlr', or a function.*; got 'mse'"):
        with_loss(attack, "mse")


def test_targets_of_apgds_own_choice_are_aimed_at() -> None:
    x, net = images((1, 8, 8), 5, 0), small_net().eval()
    y, named = net(x).argmax(1), mrt.APGD(L2, steps=4, targets=2)
    assert torch.equal(*(replace(named, loss=how)(net, x, y, rng=torch.arange(5)) for how in ("ce", own_ce)))


def test_a_loss_may_write_into_what_it_is_given() -> None:
    """Neither the verdict nor the labels may follow."""
    calls = list[int]()

    def careless(logits: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        rows, aim = torch.arange(len(labels)), labels.clone()
        labels.zero_()
        own = logits[rows, aim]
        logits[rows, aim] = -torch.inf
        return logits.amax(1) - own

    x, net, seeds = images((1, 8, 8), 6, 0), small_net().eval(), torch.arange(6)
    y = net(x).argmax(1)
    named, own = (with_loss(mrt.GreedyL0(mrt.L0(4)), loss)(net, x, y, rng=seeds) for loss in ("margin", careless))
    assert torch.equal(named, own)
    calls.clear()
    mrt.PGD(mrt.Linf(1e-3), steps=2, restarts=3, random_start=True, loss=careless)(net, x, y, rng=seeds)
    assert len(calls) == 9  # no run has succeeded, so that there are three


def hinge(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.sum(1) * 0


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (nn.CrossEntropyLoss(), r"a float for each of 4 images, \(4,\); got torch.float32 \(\) \(reduction='none'"),
        (lambda z, y: z, r"got torch.float32 \(4, 5\)"),
        (lambda z, y: z.argmax(1), r"got torch.int64 \(4,\)"),
        (lambda z, y: None, "got NoneType"),
        (lambda z, y: z.detach().sum(1), "differentiable in the logits"),
        (lambda z: z.sum(1), r"loss\(logits, labels\) failed: TypeError: .*takes 1 positional argument"),
        (lambda z, y: z[:, 99], r"loss\(logits, labels\) failed: IndexError"),
    ],
)
def test_a_loss_of_the_wrong_kind_is_named(loss: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mrt.PGD(LINF, steps=2, loss=loss)(small_net(), images((1, 8, 8), 4, 0), torch.arange(4))


@pytest.mark.parametrize("loss", ["mse", None, 3, ["ce"], nn.CrossEntropyLoss])
def test_what_is_no_loss_is_refused_when_the_attack_is_made(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"loss must be one of 'ce', 'margin', 'dlr', or a function.*; got"):
        mrt.PGD(LINF, loss=loss)


def test_an_own_loss_is_a_setting_like_others() -> None:
    """It pickles, compares and is told from others; only JSON cannot hold it, and says so."""
    attack = mrt.PGD(LINF, loss=own_ce)
    assert pickle.loads(pickle.dumps(attack)) == attack and attack != mrt.PGD(LINF, loss=hinge) != mrt.PGD(LINF)
    assert hash(attack) == hash(mrt.PGD(LINF, loss=own_ce)) and "own_ce" in repr(attack)
    weighted = [nn.CrossEntropyLoss(torch.tensor([w, 1.0]), reduction="none") for w in (1.0, 2.0, 1.0)]
    first, second, again = (identity(mrt.PGD(LINF, loss=loss)) for loss in weighted)
    assert first == again != second
    with pytest.raises(ValueError, match="own_ce.* cannot be written as JSON"):
        encode(attack)
    with pytest.raises(ValueError, match="CWLinf is the attack with loss='margin'"):
        mrt.CWLinf(LINF, loss=own_ce)
