"""A toy set and quiet runs on it; and what every process of tests/training/test_processes.py does."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mrt
from mrt.data import Images
from mrt.protocols import Step
from tests.support import UNION, images

LINF, L2, L1 = UNION


def toy(n: int = 40, augment: Any = "none", shape: tuple[int, ...] = (1, 8, 8)) -> Images:
    x = images(shape, n, 3)
    return Images(x, (x[:, 0, :4].mean((1, 2)) * 10).long().clamp(0, 4), tuple("01234"), augment)


def fit(model: nn.Module, strategy: Any, data: Any, **how: Any) -> mrt.Run:
    """Quietly, on batches of 8, by plain SGD unless said otherwise."""
    plain: dict[str, Any] = {"batch_size": 8, "optimizer": mrt.SGD(0.05, momentum=0.0, weight_decay=0.0)}
    return mrt.fit(model, strategy, data, progress=False, **{**plain, "schedule": mrt.Constant(), **how})


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


STRATEGIES: dict[str, Any] = {
    "sat": mrt.SAT(UNION, steps=2),
    "eat": mrt.EAT((LINF, L1), steps=3),
    "sequential": mrt.Average((LINF, mrt.PGD(L2, steps=2, random_start=True)), steps=2, how="sequential"),
    "ramp": mrt.RAMP(UNION, steps=2, projection=0.5),
    "trades": mrt.TRADES(L2, steps=2),
    "mng-ac": mrt.MNGAC((LINF, L2), steps=2, width=4, look_ahead=10.0),
    "pgn": mrt.PGN(2.0, width=4, batch_norm=False),
}
LEARNED = {"l2l-da": mrt.L2LDA(LINF, steps=2, width=4), "pgn with BatchNorm": mrt.PGN(2.0, width=4)}


def smooth_net(norm: bool = False) -> nn.Module:
    """Without BatchNorm, unless asked for, and without kinks, so that rounding stays rounding. Each process has another
    one: the first's counts."""
    torch.manual_seed(1 + int(os.environ.get("RANK", "0")))
    middle = [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.Softplus(), nn.Flatten(), nn.Linear(144, 5))


class Recorded:
    """A strategy and the loss of each update over all processes; `stop` breaks the run there."""

    def __init__(self, inner: Any, stop: int | None = None) -> None:
        self.inner, self.stop, self.curve = inner, stop, list[float]()

    def start(self, model: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
        outer, own = self, self.inner.start(model, x, y) if hasattr(self.inner, "start") else None

        class State(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.own = own

            def forward(self, model: nn.Module, x: Tensor, y: Tensor, step: Step) -> Any:
                if step.index == outer.stop:
                    raise KeyboardInterrupt
                found = (self.own or outer.inner)(model, x, y, step)
                for loss in [found] if isinstance(found, Tensor) else found:
                    outer.curve.append(float(step.mean(loss.detach())))
                    yield loss

        return State()


def train(out: Path) -> dict[str, Any]:
    """What every process does, alone or with others."""
    found: dict[str, Any] = {}
    for name, strategy in STRATEGIES.items():
        net, recorded = smooth_net(), Recorded(strategy)
        run = fit(net, recorded, toy(160), iterations=10, validation=mrt.Validation(toy(13), [LINF], steps=2))
        fit(
            net, mrt.Standard(), toy(), iterations=1, optimizer=mrt.SGD(1e-9), validation=toy(1)
        )  # fewer than processes
        held = run.state.own.state_dict() if name in ("mng-ac", "pgn") else {}
        weights = net.state_dict() | {f"own {k}": v for k, v in held.items() if isinstance(v, Tensor)}
        found[name] = {"curve": recorded.curve, "weights": weights, "metrics": run.metrics}
    for name, learned in LEARNED.items():
        found[name] = fit(smooth_net(), learned, toy(64), iterations=4).state.generator.state_dict()
    net = smooth_net(norm=True)
    fit(net, mrt.Standard(), toy(16), iterations=1, ema=0.5)
    found["norm"] = copy.deepcopy(net.state_dict())
    found["later"] = fit(net, mrt.SAT(UNION, steps=2), toy(48), epochs=2).model.state_dict()
    return found


def interrupted(out: Path, stop: int | None) -> list[float]:
    recorded = Recorded(STRATEGIES["eat"], stop)
    try:
        judge = mrt.Validation(toy(8), [LINF], steps=2)
        run = fit(smooth_net(), recorded, toy(160), epochs=1, out=out, checkpoint_every=4, validation=judge)
        assert run.best is not None
    except KeyboardInterrupt:
        return recorded.curve
    return recorded.curve
