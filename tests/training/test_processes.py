"""One process and several: the same training, and what BatchNorm makes of it."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import mrt
from mrt.data import order
from mrt.protocols import Step
from mrt.training.settings import check_settings
from tests.matrix_smoke import ROOT
from tests.support import UNION
from tests.training.test_loop import fit, toy

LINF, L2, L1 = UNION
STRATEGIES: dict[str, Any] = {
    "sat": mrt.SAT(UNION, steps=2),
    "eat": mrt.EAT((LINF, L1), steps=3),
    "sequential": mrt.Average((LINF, mrt.PGD(L2, steps=2, random_start=True)), steps=2, how="sequential"),
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
        run = fit(net, recorded, toy(160), iterations=20, validation=mrt.Validation(toy(13), [LINF], steps=2))
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


SCRIPT = """if True:
    import sys, torch
    from pathlib import Path
    from mrt.processes import processes
    from tests.training.test_processes import ROOT, interrupted, train
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with processes() as team:
        torch.manual_seed(team.rank)
        found = train(out)
        found["interrupted"] = interrupted(out / "run", 9)
        torch.save(found, out / f"rank-{team.rank}.pt")
    from mrt.cli import main
    words = "train msd --tune --threats linf=0.2 l1=2 --iterations 2 --images 80 --batch-size 32 --out"
    sys.exit(main([*words.split(), str(out / "cli")]))"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], str]:
    """What two processes found."""
    out = tmp_path_factory.mktemp("two")
    (out / "script.py").write_text(SCRIPT)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, str(out / "script.py"), str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, [torch.load(out / f"rank-{r}.pt", weights_only=True) for r in (0, 1)], done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_curve(name: str, two: Any, alone: dict[str, Any]) -> None:
    """Twenty updates with attacks from random starts, draws for all, running errors, several updates a batch."""
    curves = [found[name]["curve"] for found in (*two[1], alone)]
    assert len(curves[0]) == (40 if name == "sequential" else 20) and curves[0] == curves[1]
    assert curves[0] == pytest.approx(curves[2], rel=1e-3, abs=1e-5)  # attacks enlarge the rounding of the means
    for key, value in alone[name]["weights"].items():
        assert torch.equal(two[1][0][name]["weights"][key], two[1][1][name]["weights"][key])
        torch.testing.assert_close(two[1][0][name]["weights"][key], value, rtol=1e-2, atol=2e-4)
    rows = [found[name]["metrics"][-1] for found in (*two[1], alone)]
    for column in ("clean", "linf", "union", "forward", "backward"):
        assert rows[0][column] == rows[1][column] == pytest.approx(rows[2][column], abs=1 / 13 + 1e-9)


@pytest.mark.parametrize("name", LEARNED)
def test_generators_stay_equal_where_batchnorm_sees_halves(name: str, two: Any, alone: dict[str, Any]) -> None:
    """Weights and running statistics, to the bit; and they did learn."""
    one, other = (found[name] for found in two[1])
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert any("running_mean" in key and bool(value.any()) for key, value in one.items())
    assert any(not torch.equal(value, alone[name][key]) for key, value in one.items())


def test_noise_does_not_know_the_number_of_processes(two: Any, alone: dict[str, Any]) -> None:
    """A loss at the very first update, from a random start, agrees to the rounding of a mean."""
    for name in ("sat", "sequential"):
        assert two[1][0][name]["curve"][0] == pytest.approx(alone[name]["curve"][0], rel=1e-6)


def test_batchnorm_across_processes(two: Any) -> None:
    """Each normalises by its own half; running statistics are the mean of the halves', and equal everywhere."""
    net, data = smooth_net(norm=True).train(), toy(16)
    visits, halves = order(16, seed=0, epoch=0)[:8], []
    for rank in (0, 1):
        mine, rows = copy.deepcopy(net), visits[rank::2]
        loss = cross_entropy(mine(data.x[rows]), data.y[rows])
        halves.append((mine.state_dict(), torch.autograd.grad(loss, list(mine.parameters()))))
    for name in ("1.running_mean", "1.running_var"):
        mean = (halves[0][0][name] + halves[1][0][name]) / 2
        torch.testing.assert_close(two[1][0]["norm"][name], mean)
        assert not torch.equal(halves[0][0][name], halves[1][0][name])
    grads = [(a + b) / 2 for a, b in zip(halves[0][1], halves[1][1], strict=True)]
    for (name, weight), grad in zip(net.named_parameters(), grads, strict=True):
        torch.testing.assert_close(two[1][0]["norm"][name], weight.detach() - 0.05 * grad)
    for key, value in two[1][0]["later"].items():
        assert torch.equal(value, two[1][1]["later"][key]), key


def test_a_run_may_go_on_with_another_number_of_processes(two: Any, tmp_path: Path) -> None:
    out, found, _ = two
    whole, rest = interrupted(tmp_path, None), interrupted(out / "run", None)
    assert found[0]["interrupted"] == pytest.approx(whole[:9], rel=2e-4)
    assert len(rest) == 12 and rest == pytest.approx(whole[8:], rel=2e-3)  # from the checkpoint after update 8


def test_the_command_line_speaks_once(two: Any) -> None:
    out, _, said = two
    assert said.count("last weights") == said.count("chosen on held-out") == 1
    assert (out / "cli" / "model.pt").is_file() and (out / "cli" / "tune" / "tune.json").is_file()


def test_a_batch_is_shared_evenly() -> None:
    with pytest.raises(ValueError, match=r"batch_size \(here 8\) must be a multiple of the 3 processes"):
        how: dict[str, Any] = {"batch_size": 8, "optimizer": mrt.SGD(), "schedule": None, "ema": None, "clip": None}
        check_settings(smooth_net(), mrt.Standard(), toy(), 1, None, 3, **how)
