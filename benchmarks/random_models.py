"""What attacks along the mean over draws leave of networks behind noise, beside AutoAttack's version for random models.

    python -m benchmarks.random_models [--images 200] [--out benchmarks/results/FILE.json]

Networks on the embedded digits, trained behind the Gaussian noise that they are used behind. `quick` finds by itself
that the answers are random; `single draws` are the same attacks without the mean. One draw of each result counts.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

import mrt  # noqa: E402
from benchmarks.environment import environment  # noqa: E402

BALLS = (mrt.Linf(0.15), mrt.L2(0.7))
NOISE = (0.2, 0.4)  # standard deviations


class Noisy(nn.Module):
    """A network behind Gaussian noise, drawn anew at every pass."""

    def __init__(self, net: nn.Module, sd: float) -> None:
        super().__init__()
        self.net, self.sd = net, sd

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x + self.sd * torch.randn_like(x))
        return logits


def train(sd: float, updates: int = 300) -> nn.Module:
    """A network behind noise, by Adam on batches of 256."""
    torch.manual_seed(0)
    data = mrt.data.digits("train")
    model = Noisy(mrt.models.DigitsCNN(width=8), sd)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(updates):
        rows = torch.randperm(len(data.x))[:256]
        optimizer.zero_grad()
        cross_entropy(model(data.x[rows]), data.y[rows]).backward()
        optimizer.step()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default=200, type=int)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    test = mrt.data.digits("test").take(args.images)
    rows: list[dict[str, Any]] = []
    report = {"environment": environment(), "n": len(test), "rows": rows}
    for sd in NOISE:
        model = train(sd)
        for ball in BALLS:
            single = tuple(replace(entry, draws=1) for entry in mrt.batteries.quick((ball,), draws=2))
            judges: dict[str, tuple[Any, dict[str, Any]]] = {
                "quick": ("quick", {"threats": (ball,)}),
                "AutoAttack rand": ("standard", {"threats": (ball,)}),
                "single draws": (single, {}),
            }
            for judge, (battery, options) in judges.items():
                torch.manual_seed(1)  # the model's noise
                found = mrt.evaluate(model, test, battery, progress=False, **options)
                passes = sum(work["forward"] for work in found.info["attacks"].values())
                left = {"clean": 100 * found.clean, "left": 100 * found.union, "forward passes": passes}
                rows.append({"noise": sd, "ball": repr(ball), "judge": judge, **left})
                print(f"noise {sd} {ball!r:14} {judge:16} clean {100 * found.clean:.1f} left {100 * found.union:.1f}")
                if args.out:  # each figure as it comes
                    args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
