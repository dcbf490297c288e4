"""How attacks and training run the model: the options that trade nothing but a little rounding for speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mrt import checks


@dataclass(frozen=True)
class Fast:
    """How attacks and training run the model. Off by default. No option changes a step beyond rounding, and
    perturbations, their gradients and losses stay in float32 throughout.

    precision="bfloat16" runs the model under autocast, which it must not leave; attacks use bfloat16 copies of its
    weights, taken at every call, but for the first layer that it registers, which computes in float32. compile: attacks
    run the model through torch.compile on a GPU ("max-autotune" tries out its kernels, which takes minutes), and their
    steps through compiled C++ on a CPU. graph: on a GPU, PGD, SLIDE, MSD and APGD replay each step as one CUDA graph;
    what cannot be captured runs as it would without, and says so once: other attacks, a model that is no nn.Module or
    looks at values, radii by example. reuse: MSD goes back through the winner's own forward pass instead of repeating
    it, 4 passes a step for 5; it needs examples that do not see each other (no bn="batch").

    Attacks then run a copy of the model that shares its tensors: a hook runs as the copy's, and not in a replay.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool | Literal["max-autotune"] = False
    graph: bool = False
    reuse: bool = False

    def __post_init__(self) -> None:
        checks.choice("precision", self.precision, ("float32", "bfloat16"))
        if not isinstance(self.compile, bool) and self.compile != "max-autotune":
            raise ValueError(f"compile must be True, False or 'max-autotune'; got {self.compile!r}")
        for name in ("graph", "reuse"):
            checks.flag(name, getattr(self, name))
