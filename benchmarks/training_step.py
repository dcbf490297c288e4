"""What an adversarial training step costs beside one written by hand and ART's trainer: Madry's CNN, PGD-10, batch 128.

    python -m benchmarks.training_step [--rounds 15] [--out benchmarks/results/FILE.json]

One CPU thread, process CPU time, images of noise (the cost does not depend on what is on them). In each round every row
trains the same network on the same two batches, one row after the other, in an order that changes; figures are medians
over the rounds of the ratio within a round. Passes of the model are counted by hooks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

import mrt  # noqa: E402
from benchmarks.environment import environment  # noqa: E402
from mrt.models import MadryCNN  # noqa: E402
from mrt.training.observers import counted  # noqa: E402

EPS, STEP, STEPS, BATCH, BATCHES, LR = 0.3, 0.075, 10, 128, 2, 0.05


def ours(model: nn.Module, x: Tensor, y: Tensor, channels_last: bool = True) -> None:
    """mrt.fit, as a user calls it; and with convolutions that lie in memory as the other rows' do."""
    attack = mrt.PGD(mrt.Linf(EPS), steps=STEPS, step_size=STEP, best="last")
    sgd = mrt.SGD(LR, momentum=0.9, weight_decay=0.0)
    how = {"epochs": 1, "batch_size": BATCH, "progress": False, "channels_last": channels_last}
    mrt.fit(model, mrt.Adversarial(attack), (x, y), optimizer=sgd, **how)  # type: ignore[arg-type]


def by_hand(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """The shortest loop that does the work: frozen weights while the attack runs, gradients of the input alone."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    for rows in torch.randperm(len(x)).split(BATCH):
        clean, labels = x[rows], y[rows]
        model.eval().requires_grad_(False)
        x_adv = (clean + EPS * (2 * torch.rand_like(clean) - 1)).clamp(0, 1)
        for _ in range(STEPS):
            x_adv.requires_grad_()
            (grad,) = torch.autograd.grad(cross_entropy(model(x_adv), labels, reduction="sum"), x_adv)
            moved = x_adv.detach() + STEP * grad.sign()
            x_adv = torch.max(torch.min(moved, clean + EPS), clean - EPS).clamp(0, 1)
        model.train().requires_grad_(True)
        optimizer.zero_grad()
        cross_entropy(model(x_adv), labels).backward()
        optimizer.step()


def art(attack_batch: int | None) -> Callable[[nn.Module, Tensor, Tensor], None]:
    """AdversarialTrainerMadryPGD; its attack works in batches of 32 unless told otherwise."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> None:
        from art.defences.trainer import AdversarialTrainerMadryPGD
        from art.estimators.classification import PyTorchClassifier

        optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
        loss = nn.CrossEntropyLoss()
        host: Any = PyTorchClassifier(
            model, loss, (1, 28, 28), 10, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
        )
        how = {"eps": EPS, "eps_step": STEP, "max_iter": STEPS, "num_random_init": 1}
        trainer = AdversarialTrainerMadryPGD(host, nb_epochs=1, batch_size=BATCH, **how)
        if attack_batch is not None:
            trainer.attack.set_params(batch_size=attack_batch)
        trainer.fit(x.numpy(), y.numpy())

    return run


ROWS: dict[str, Callable[[nn.Module, Tensor, Tensor], None]] = {
    "mrt.fit": ours,
    "mrt.fit, contiguous": lambda model, x, y: ours(model, x, y, channels_last=False),
    "by hand": by_hand,
    "ART as shipped": art(None),
    f"ART, attack batch {BATCH}": art(BATCH),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    x, y = torch.rand(BATCH * BATCHES, 1, 28, 28), torch.arange(BATCH * BATCHES) % 10
    names, seconds, passes = list(ROWS), {name: list[float]() for name in ROWS}, {}
    for number in range(-1, args.rounds):  # one to warm up
        random.Random(number).shuffle(names)
        for name in names:
            torch.manual_seed(0)
            model, sums = MadryCNN(width=args.width), {"forward": 0, "backward": 0}
            if number < 0:
                with counted(model, sums):
                    ROWS[name](model, x, y)
                passes[name] = {key: count / BATCHES for key, count in sums.items()}
                continue
            began = time.process_time()
            ROWS[name](model, x, y)
            seconds[name].append(time.process_time() - began)
        print(f"\rround {number + 1} of {args.rounds}", end="", flush=True)
    print()
    result: dict[str, Any] = {"environment": environment(), "rounds": args.rounds, "passes per step": passes}
    for name in ROWS:
        ratios = [a / b for a, b in zip(seconds[name], seconds["mrt.fit"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        each = 1000 * statistics.median(seconds[name]) / BATCHES
        result[name] = {"ms per step": each, "over mrt.fit": middle, "quartiles": [low, high]}
        p = passes[name]
        print(
            f"{name:22s} {each:8.0f} ms a step   {middle:5.3f} times mrt.fit ({low:.3f} to {high:.3f})   "
            f"passes {p['forward']:g} + {p['backward']:g}"
        )
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
