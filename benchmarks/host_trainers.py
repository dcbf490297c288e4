"""Our trainers, as an ART user calls them, against ART's own on the embedded digits.

    python -m benchmarks.host_trainers --out runs/host-trainers [--workers 2] [--result FILE.json]

All are called through ART's interface on a PyTorchClassifier with Adam: 20 epochs of batch 64, a rate that rises over
30% and falls to zero. Ours get a torch scheduler by epoch, as does ART's TRADES (by a subclass of the class that it
asks for); ART hands the others' to `classifier.fit`, so theirs counts batches. Settings of ours and of the rotation are
those that `benchmarks.union_digits` chose on held-out images; ART's Madry and TRADES get as many candidates here. Three
fresh seeds, judged on 300 test images by `mrt.evaluate(..., "quick")` and on 100 by AutoAttack's standard version.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, _LRScheduler

import mrt
from benchmarks.environment import environment
from benchmarks.tasks import Task
from benchmarks.union_digits import (
    BATCH,
    EPOCHS,
    FRESH,
    PEAK,
    RADII,
    RATES,
    art_rotation,
    judged_training,
    over,
    spread,
    study,
)
from mrt.data import Images
from mrt.models import DigitsCNN

CANDIDATES = [{"lr": lr, "steps": k} for lr, k in itertools.product((2e-3, *RATES), (5, 10))]
CHOSEN: dict[str, list[dict[str, Any]]] = {
    "msd": [{"lr": 8e-3, "steps": 5, "ratio": 1.4}],
    "max": [{"lr": 8e-3, "steps": 5, "keep": (1, 6)}],
    "sat": [{"lr": 8e-3, "steps": 5, "keep": 0.99}],
    "art rotation": [{"lr": 8e-3, "steps": 10}],
}
GRID = CHOSEN | {"art madry": CANDIDATES, "art trades": CANDIDATES}
OURS, BOUNDS = ("msd", "max", "sat"), {"msd": 7, "max": 5, "sat": 3}


def train(method: str, radii: str, seed: int, data: Images, lr: float, **settings: Any) -> nn.Module:
    """The network after 20 epochs."""
    torch.manual_seed(seed)
    model = DigitsCNN()
    if method == "art rotation":
        return art_rotation(model, radii, seed, data, lr, settings["steps"])
    np.random.seed(seed)
    from art.estimators.classification import PyTorchClassifier

    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    host = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer=optimizer, clip_values=(0.0, 1.0), device_type="cpu"
    )
    x, y = data.x.numpy(), data.y.numpy()
    if method in OURS:
        ours(host, method, RADII[radii], **settings).fit(
            x, y, batch_size=BATCH, nb_epochs=EPOCHS, scheduler=by_epoch(optimizer)
        )
    elif method == "art trades":
        trades(host, RADII[radii][0], settings["steps"]).fit(
            x, y, batch_size=BATCH, nb_epochs=EPOCHS, scheduler=Shaped(optimizer)
        )
    else:
        madry(host, RADII[radii][0], settings["steps"]).fit(x, y, scheduler=by_batch(optimizer, len(data)))
    return model.eval()


def ours(host: Any, method: str, radii: tuple[float, ...], steps: int, keep: Any = (1, 6), ratio: float = 1.0) -> Any:
    """By our names in `mrt_art.TRAINERS`; `ratio` lengthens MSD's l1 steps."""
    import mrt_art

    how: dict[str, Any] = {"eps": dict(zip(("inf", "2", "1"), radii, strict=True)), "max_iter": steps, "keep": keep}
    if method == "msd":
        how["eps_step"] = {n: (ratio if n == "1" else 1.0) * 2.5 * e / steps for n, e in how["eps"].items()}
    return mrt_art.TRAINERS[method.upper()](host, verbose=False, **how)


def madry(host: Any, eps: float, steps: int) -> Any:
    from art.defences.trainer import AdversarialTrainerMadryPGD

    return AdversarialTrainerMadryPGD(
        host, nb_epochs=EPOCHS, batch_size=BATCH, eps=eps, eps_step=2.5 * eps / steps, max_iter=steps
    )


def trades(host: Any, eps: float, steps: int) -> Any:
    from art.attacks.evasion import ProjectedGradientDescent
    from art.defences.trainer import AdversarialTrainerTRADESPyTorch

    attack = ProjectedGradientDescent(
        host, eps=eps, eps_step=2.5 * eps / steps, max_iter=steps, num_random_init=1, batch_size=BATCH, verbose=False
    )
    return AdversarialTrainerTRADESPyTorch(host, attack, beta=6.0)


def shape(share: float) -> float:
    return mrt.Triangular(PEAK)(min(share, 1.0))


def by_epoch(optimizer: Any) -> LambdaLR:
    return LambdaLR(optimizer, lambda epoch: shape((epoch + 0.5) / EPOCHS))


def by_batch(optimizer: Any, count: int) -> LambdaLR:
    return LambdaLR(optimizer, lambda i: shape((i + 1) / (EPOCHS * -(-count // BATCH))))


class Shaped(_LRScheduler):
    """`by_epoch`, of the class that ART's TRADES asks for, which no scheduler of torch is."""

    def get_lr(self) -> list[float | torch.Tensor]:
        return [base * shape((self.last_epoch + 0.5) / EPOCHS) for base in self.base_lrs]


def work(task: Task) -> dict[str, Any]:
    return judged_training(task, train, FRESH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/host-trainers"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--chosen", type=Path, help="an earlier result file whose settings are taken")
    args = parser.parse_args()
    earlier = json.loads(args.chosen.read_text()) if args.chosen else None
    found = study("A", GRID, args.out, args.workers, work=work, earlier=earlier)
    table = found["rows"]
    gains = {m: over(table, m, ("art rotation",)) | {"asked for": BOUNDS[m]} for m in OURS}
    seconds = {m: statistics.mean(row["seconds"] for row in rows) for m, rows in table.items()}
    standard = {m: spread([100 * row["standard"]["union"] for row in rows]) for m, rows in table.items()}
    print(json.dumps({"over ART's rotation": gains, "CPU seconds": seconds, "AutoAttack union": standard}, indent=1))
    if args.result:
        head = {"environment": environment(), "radii": RADII["A"], "seeds": FRESH}
        told = {"over ART's rotation": gains, "CPU seconds": seconds, "AutoAttack union": standard}
        args.result.write_text(json.dumps(head | told | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
