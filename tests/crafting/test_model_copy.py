"""mrt/crafting/model_copy.py: The copy of a model that fast attacks run is the model of the moment."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.crafting import model_copy as twins
from tests.crafting.support import Net, batch, fast
from tests.support import UNION

LINF, L2, L1 = UNION


def test_a_twin_is_the_model_of_this_moment() -> None:
    """Weights, buffers, plain attributes, hooks and parts may change between calls."""
    net, (x, y) = Net(), batch()
    attack = mrt.PGD(L2, steps=3)
    quick = fast(attack, graph=True)

    def check() -> Tensor:
        expected = attack(copy.deepcopy(net), x, y)
        assert torch.equal(quick(net, x, y), expected)
        return expected

    seen = [check()]
    with torch.no_grad():
        net.body[0].weight.neg_()
    seen.append(check())
    net.body[1].running_mean += 1.0
    seen.append(check())
    net.sharpness = -1.0
    seen.append(check())
    net.body[8] = nn.Linear(96, 5)
    seen.append(check())
    net.body[8].weight.data = net.body[8].weight.data.neg()
    seen.append(check())
    handle = net.register_forward_hook(lambda module, inputs, out: -out)
    seen.append(check())
    handle.remove()
    seen.append(check())
    assert not any(torch.equal(a, b) for a, b in zip(seen, seen[1:], strict=False))


def test_a_twin_is_made_once_and_goes_with_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plain = twins.ModelCopy.__init__

    def counted(self: Any, *given: Any) -> None:
        made.append(weakref.ref(self))
        plain(self, *given)

    monkeypatch.setattr(twins.ModelCopy, "__init__", counted)
    net, (x, y) = Net(), batch()
    for _ in range(3):
        fast(mrt.PGD(L2, steps=2), graph=True)(net, x, y)
        net.train()
    assert len(made) == 1 and net.training
    fast(mrt.PGD(L2, steps=2, bn="batch"), graph=True)(net, x, y)
    assert len(made) == 2
    net.__dict__["own"] = net.forward  # leads back to the model
    fast(mrt.PGD(L2, steps=2, bn="batch"), graph=True)(net, x, y)
    del net
    gc.collect()
    assert [r() for r in made] == [None, None, None]


def test_a_twin_that_is_replaced_lets_its_recordings_go_at_once() -> None:
    """They hold a GPU's memory, and whoever still has the old copy in hand has no more use for them."""
    net = Net()
    old = twins.copy_of(net, "eval", mrt.Fast(graph=True))
    old.recordings["key"] = object()
    net.extra = nn.Linear(2, 2)
    assert twins.copy_of(net, "eval", mrt.Fast(graph=True)) is not old and not old.recordings


@pytest.mark.parametrize("change", ["function", "list", "dict", "tensor in a tuple", "forward", "object", "new tensor"])
def test_a_twin_notices_what_is_changed_inside(change: str) -> None:
    """Attributes that are functions, containers or objects, changed in place or replaced."""

    class Config:
        k = 0.0

        def __init__(self) -> None:
            self.k = 1.0

    class Odd(Net):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.ls, self.cfg, self.obj = torch.cos, [1.0], {"k": [1.0]}, Config()
            self.held = (torch.ones(1), [torch.ones(1)])

        def forward(self, x: Tensor) -> Tensor:
            out = self.act(super().forward(x)) * self.ls[0] * self.cfg["k"][0] * self.obj.k
            return out * self.held[0] * self.held[1][0]

    net: Any = Odd()
    (x, y), attack = batch(), mrt.PGD(L2, steps=3)
    before = fast(attack, graph=True)(net, x, y)
    if change == "function":
        net.act = torch.sin
    elif change == "list":
        net.ls[0] = -1.0
    elif change == "dict":
        net.cfg["k"][0] = -1.0
    elif change == "tensor in a tuple":
        net.held[1][0].neg_()
    elif change == "new tensor":
        net.held = (torch.ones(1), [-torch.ones(1)])
    elif change == "object":
        net.obj.k = -1.0
    else:
        plain = net.forward
        net.forward = lambda x: -plain(x)
    found = fast(attack, graph=True)(net, x, y)
    assert torch.equal(found, attack(net, x, y)) and not torch.equal(found, before)


def test_a_model_that_keeps_its_tensors_to_itself_is_refused() -> None:
    """A copy of a script would go on with the weights of its day."""
    for kind in (FutureWarning, DeprecationWarning):  # scripts are going out
        warnings.simplefilter("ignore", kind)
    script, (x, y) = torch.jit.trace(Net().eval(), batch()[0]), batch()
    with pytest.raises(ValueError, match="shares its tensors"):
        fast(mrt.PGD(L2, steps=2), graph=True)(script, x, y)


def test_bfloat16_weights_are_a_copy_of_this_moment() -> None:
    """All heavy layers but the first, taken anew at every call; nothing else is copied, and the model keeps its own."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 5))
    how = mrt.Fast("bfloat16")
    module: Any = twins.copy_of(net, "eval", how).call
    kinds = [p.dtype for p in module.parameters()]
    low, full = torch.bfloat16, torch.float32
    assert kinds == [full, full, full, full, low, low, low, low]
    shared = [a.data_ptr() == b.data_ptr() for a, b in zip(net.parameters(), module.parameters(), strict=True)]
    assert shared == [True] * 4 + [False] * 4
    with torch.no_grad():
        weights = [p for p in net.parameters() if p.ndim == 2]
        weights[2].data.fill_(0.5)  # which leaves no trace in the version
        weights[0].fill_(0.25)
    again: Any = twins.copy_of(net, "eval", how).call
    assert again is module and (module[5].weight == 0.5).all() and (module[1].weight == 0.25).all()
    assert all(p.dtype == full for p in net.parameters())
    assert not any(p.requires_grad for p in module.parameters()) and not module.training


def test_batchnorm_in_a_twin_is_as_asked() -> None:
    x, y = batch(8)
    modes: tuple[Any, ...] = ("eval", "batch")
    for bn in modes:
        attack = mrt.PGD(L2, steps=3, bn=bn)
        net = Net()
        before = copy.deepcopy(net.state_dict())
        assert torch.equal(fast(attack, graph=True)(net, x, y), attack(net, x, y))
        assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))


def test_a_weight_shared_with_the_first_layer_stays_whole() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.Linear(128, 5))
    net[3].weight = net[1].weight
    module: Any = twins.copy_of(net, "eval", mrt.Fast("bfloat16")).call
    kinds = [p.dtype for p in module.parameters()]
    assert kinds == [torch.float32, torch.float32, torch.bfloat16, torch.bfloat16, torch.bfloat16]


@pytest.mark.parametrize("own_forward", [False, True])
def test_the_first_layer_computes_in_float32_and_answers_in_bfloat16(own_forward: bool) -> None:
    """Also where autocast, or the caller, would have it otherwise. A float32 answer would keep all that follows, up to
    the next convolution and through every residual connection, in float32."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 5), nn.Linear(5, 5))
    if own_forward:
        plain = net[1].forward
        net[1].forward = lambda x: plain(x)
    module: Any = twins.copy_of(net, "eval", mrt.Fast("bfloat16")).call
    x = torch.rand(3, 2, 8, 8)
    expected = net[1](x.flatten(1)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module[1](x.flatten(1)), expected)
        assert module[1](x.flatten(1).bfloat16()).dtype == torch.bfloat16
    assert isinstance(module[1], nn.Linear)


def test_a_model_of_one_layer_answers_in_float32() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 5))
    module: Any = twins.copy_of(net, "eval", mrt.Fast("bfloat16")).call
    x = torch.rand(3, 2, 8, 8)
    plain = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(x), plain) and module(x).dtype == torch.float32


def test_a_copy_that_cannot_be_made_is_explained() -> None:
    class Locked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.lock: Any = (i for i in range(3))

    x, y = batch()
    with pytest.raises(ValueError, match=r"Fast\(.*copy of the model"):
        fast(mrt.PGD(LINF, steps=2), graph=True)(Locked(), x, y)


@pytest.mark.parametrize("how", [{"reuse": True}, {"graph": True}, {"compile": True, "reuse": True}], ids=str)
def test_the_evaluator_watches_a_twin_as_it_does_the_model(how: dict[str, bool]) -> None:
    """Passes are counted, and progress is shown, through one twin for all batches."""
    x, y = batch(10)
    net, attack = Net().eval(), mrt.MSD(UNION, steps=3)
    reports = []
    for given in (attack, fast(attack, **how)):
        battery = (mrt.Entry("msd", given, attack.threat),)
        reports.append(mrt.evaluate(net, (x, y), battery, batch_size=5, progress=True))
    plain, quick = (report.info["attacks"]["msd-union"] for report in reports)
    assert torch.equal(reports[0].masks["msd-union"], reports[1].masks["msd-union"])
    assert quick["forward"] >= plain["forward"] > 0 and quick["backward"] > 0


def test_bfloat16_leaves_weights_alone_that_are_made_from_others() -> None:
    """Old spectral and weight norm: their layers make the weight anew from parameters of other names."""
    warnings.simplefilter("ignore", FutureWarning)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(128, 4), nn.utils.spectral_norm(nn.Linear(4, 4)), nn.utils.weight_norm(nn.Linear(4, 5))
    )
    x, y = batch()
    found = fast(mrt.PGD(L2, steps=2), precision="bfloat16")(net.eval(), x, y)
    assert ((found - mrt.PGD(L2, steps=2)(net, x, y)).abs() < 0.05).float().mean() > 0.9


def test_bfloat16_models_of_their_own_kind_are_left_so() -> None:
    class Low(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(128, 5).bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.out(x.flatten(1).bfloat16())
            return answer

    x, y = batch(2)
    assert fast(mrt.PGD(L2, steps=2), precision="bfloat16")(Low(), x, y).shape == x.shape
