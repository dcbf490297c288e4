"""mrt/training/distributed.py, mrt/processes.py: One process and several: the same training, and what BatchNorm
makes of it."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import mrt
from mrt.data import order
from mrt.training.settings import check_settings
from tests.support import ROOT
from tests.training.support import LEARNED, STRATEGIES, interrupted, smooth_net, toy, train

SCRIPT = """if True:
    import sys, torch
    from pathlib import Path
    from mrt.processes import processes
    from tests.training.support import interrupted, train
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
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, [torch.load(out / f"rank-{r}.pt", weights_only=True) for r in (0, 1)], done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_curve(name: str, two: Any, alone: dict[str, Any]) -> None:
    """Ten updates with attacks from random starts, draws for all, running errors, several updates a batch."""
    curves = [found[name]["curve"] for found in (*two[1], alone)]
    assert len(curves[0]) == (20 if name == "sequential" else 10) and curves[0] == curves[1]
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
