"""What a rung is given: where it runs, how long it may, and where its figures go."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import copy_bandwidth, matmul_peak, noted

PREDICTED = Path(__file__).parents[1] / "results"
RESULTS, LOG = "results.jsonl", "log.txt"


def predicted(what: str, card: str) -> float | None:
    """What `benchmarks.roofline` last said of that figure on such a card, if it has."""
    files = sorted(PREDICTED.glob("*_predicted.json"))
    by_card = json.loads(files[-1].read_text())["predicted"].get(what, {}) if files else {}
    return next((value for kind, value in by_card.items() if kind in card), None)


@dataclass
class Context:
    """Of one rung. `data` is a folder that is filled in the background; `deadline` is when the rung will be killed."""

    rung: int
    device: str
    tiny: bool
    out: Path
    data: Path
    deadline: float
    failed: int = 0
    """Figures that could not be had, so far; one that was had and misses its goal is not among them."""

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def place(self) -> torch.device:
        return torch.device(self.device)

    @property
    def narrow(self) -> dict[str, Any]:
        """What makes a network small where the run is to be short."""
        return {"width": 8} if self.tiny else {}

    def left(self) -> float:
        """Seconds until the rung is killed."""
        return self.deadline - time.monotonic()

    def record(self, what: str, value: float | str | None, unit: str, **more: Any) -> None:
        """A figure, on the disk at once. With `goal` (at least) or `at most` it passes or fails; with `top` it
        is shown in the table at the end."""
        figure: dict[str, Any] = {"rung": self.rung, "what": what, "value": value, "unit": unit, **more}
        if isinstance(value, (int, float)) and "passed" not in more and {"goal", "at most"} & set(more):
            figure["passed"] = more.get("goal", value) <= value <= more.get("at most", value)
        expected = predicted(what, str(self.known("card"))) if self.on_gpu and what != "card" else None
        figure |= {} if expected is None else {"predicted": expected}
        if more.get("recorded") is False and self.on_gpu:
            figure["passed"] = False  # its name says that it is a graph
        self.failed += figure.get("passed") is False and value is None
        noted(self.out / RESULTS, figure)
        print(f"[{self.rung}] {what}: {value} {unit} {more or ''}", flush=True)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What fails in here is recorded by that name, and the rung goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            told = (str(error).strip().splitlines() or [""])[0][:300]
            self.record(what, None, "", passed=False, error=f"{type(error).__name__}: {told}")

    def enough(self, seconds: float, what: str) -> bool:
        """Is there as much time left? If not, a line says what is left out."""
        if self.left() >= seconds:
            return True
        self.record(what, None, "", skipped=f"{self.left():.0f} s were left")
        return False

    def known(self, what: str) -> float | None:
        """The last figure of that name, whichever rung measured it."""
        path = self.out / RESULTS
        lines = path.read_text().splitlines() if path.is_file() else []
        values = [row.get("value") for row in map(json.loads, lines) if row["what"] == what]
        return values[-1] if values else None

    def bandwidth(self) -> float:
        """Bytes a second of a large copy on this machine."""
        found = self.known("copy bandwidth")
        if found is None:
            found = copy_bandwidth(self.place) / 1e9
            self.record("copy bandwidth", found, "GB/s", top=True)
        return 1e9 * found

    def peak(self) -> float | None:
        """TFLOP/s of a large product in bfloat16; None on a CPU."""
        if not self.on_gpu:
            return None
        found = self.known("bf16 matrix product")
        if found is None:
            found = matmul_peak(self.place) / 1e12
            self.record("bf16 matrix product", found, "TFLOP/s", top=True)
        return found
