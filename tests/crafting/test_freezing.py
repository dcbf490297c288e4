"""mrt/crafting/freezing.py: A model that several attacks hold at once, within one another and in several threads."""

from __future__ import annotations

import itertools
import threading
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn

import mrt
from mrt.crafting import freezing
from mrt.crafting.gradient import crafting
from tests.support import images, small_net


def state(net: nn.Module) -> list[bool]:
    return [m.training for m in net.modules()] + [p.requires_grad for p in net.parameters()]


def mixed_net() -> nn.Module:
    """A network of which a part is in eval mode and another asks for no gradient."""
    net = small_net().train()
    next(m for m in net.modules() if isinstance(m, nn.Dropout)).eval()
    next(net.parameters()).requires_grad_(False)
    return net


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_last_to_leave_restores_what_the_first_found(order: tuple[int, ...]) -> None:
    """Whoever leaves first."""
    net = mixed_net()
    before, blocks = state(net), [ExitStack() for _ in range(3)]
    for block in blocks:
        block.enter_context(crafting(net))
    for left, number in enumerate(order, 1):
        assert not any(state(net))
        blocks[number].close()
        assert (state(net) == before) == (left == 3)
    assert not freezing._held


def test_an_attack_on_a_part_of_a_model_leaves_the_whole_frozen() -> None:
    net = mixed_net()
    around, before = nn.Sequential(nn.Identity(), net), state(net)
    whole, part = ExitStack(), ExitStack()
    whole.enter_context(crafting(around))
    part.enter_context(crafting(net))
    whole.close()
    assert not any(state(net)) and around.training
    part.close()
    assert state(net) == before


def test_the_modes_are_those_of_the_block_that_came_last() -> None:
    net = small_net().train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    first, second, third = ExitStack(), ExitStack(), ExitStack()
    first.enter_context(crafting(net, bn="batch"))
    second.enter_context(crafting(net))
    third.enter_context(crafting(net, bn="batch"))
    assert norms and all(m.training and not m.track_running_stats for m in norms)
    third.close()
    assert not any(m.training for m in norms)
    first.close()
    assert not any(m.training for m in norms)
    second.close()
    assert all(m.training and m.track_running_stats for m in norms)


def in_a_thread(run: threading.Thread) -> None:
    run.start()
    run.join(900)


def test_two_threads_may_not_ask_for_different_modes() -> None:
    net, said = small_net().train(), list[str]()

    def attack() -> None:
        try:
            with crafting(net):
                pass
        except ValueError as error:
            said.append(str(error))

    before = state(net)
    with crafting(net, bn="batch"):
        inside = state(net)
        in_a_thread(threading.Thread(target=attack))
        assert state(net) == inside
    assert len(said) == 1 and "another thread attacks this model and has BatchNorm in another mode" in said[0]
    assert state(net) == before and not freezing._held


def test_two_attacks_at_once_leave_the_model_as_it_was() -> None:
    """The second begins while the first is under way, and ends after it."""
    inner, x, y = mixed_net(), images((1, 8, 8), 4, 0), torch.arange(4)
    before, alone = state(inner), mrt.PGD(mrt.Linf(0.2), steps=2)(inner, x, y, rng=torch.arange(4))
    begun, ended, found = threading.Event(), threading.Event(), list[Tensor]()

    class Waiting(nn.Module):
        """Holds up the attack that runs in the other thread until the first one has ended."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            if threading.current_thread() is not threading.main_thread():
                begun.set()
                assert ended.wait(900)
            z: Tensor = self.inner(x)
            return z

    net = Waiting()
    net.training = False

    def attack() -> None:
        found.append(mrt.PGD(mrt.Linf(0.2), steps=2)(net, x, y, rng=torch.arange(4)))

    with crafting(net):
        other = threading.Thread(target=attack)
        other.start()
        assert begun.wait(900)
    assert not any(state(inner))  # the other one is still at work
    ended.set()
    other.join(900)
    assert state(inner) == before and torch.equal(found[0], alone)
