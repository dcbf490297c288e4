"""How a model is attacked without harm: frozen, in a known mode, restored on every exit, and differentiated in its
input alone. This file and `winner_gradient` are the only ones of an attack that call autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mrt import checks
from mrt.crafting.freezing import Setting, held_still
from mrt.crafting.model_copy import ModelCopy, copy_of
from mrt.crafting.model_failure import ask, differentiate
from mrt.crafting.undefined import UndefinedGradients, is_undefined
from mrt.fast import Fast
from mrt.protocols import Model
from mrt.threats.projections import no_sync

BatchNormMode = Literal["eval", "batch"]
CLIMBING: ContextVar[bool] = ContextVar("CLIMBING", default=False)
"""Is the gradient of this pass for a step upwards of ours? A model may then answer for what a step cannot do: see
`hosts.pixel_range`. Others may go down it."""


@contextmanager
def climbing() -> Iterator[None]:
    """Inside, passes are for steps upwards."""
    token = CLIMBING.set(True)
    try:
        yield
    finally:
        CLIMBING.reset(token)


@contextmanager
def crafting(model: Model, *, bn: BatchNormMode = "eval", fast: Fast = Fast()) -> Iterator[AttackedModel]:  # noqa: B008
    """Open the model for an attack: until the block ends no parameter asks for a gradient, so that none is computed by
    accident, and every module is in eval mode.

    `bn="batch"` lets BatchNorm normalise by the statistics of the batch at hand, as the published MSD and MNG-AC code
    does, but never moves its running ones; an example then does depend on its batch mates. A callable that is no
    nn.Module, nor a method of one, is called as it is: put whatever it calls into eval mode yourself. What `fast` may
    ask for is explained there; it is a copy of the model that runs then.
    """
    checks.choice("bn", bn, ("eval", "batch"))
    owner = getattr(model, "__self__", model)  # a bound method, such as model.forward, belongs to a module as well
    modules = list(owner.modules()) if isinstance(owner, nn.Module) else []
    parameters = [p for m in modules for p in m.parameters(recurse=False)]
    if any(t.is_inference() for m in modules for t in (*m.parameters(recurse=False), *m.buffers(recurse=False))):
        raise ValueError(
            "the model was created or loaded under torch.inference_mode(), so nothing can differentiate it; "
            "create it outside"
        )
    norms = {m for m in modules if isinstance(m, _BatchNorm)} if bn == "batch" else set()
    settings: list[Setting] = [(m, "training", m in norms) for m in modules]
    settings += [(m, "track_running_stats", False) for m in norms]
    settings += [(p, "requires_grad", False) for p in parameters]
    with held_still(settings):
        yield AttackedModel(model, fast, bn)


class AttackedModel:
    """The model as attacks call it, in the precision that they ask for: itself, or where `fast` asks for more than
    torch.compile on a CPU, the copy of it that fast attacks run (`model_copy`). It is given a copy of the images, since
    it may write into them. `undefined`, where there is one, looks at the gradients that come back."""

    def __init__(self, model: Model, fast: Fast, bn: BatchNormMode) -> None:
        self.precision, self.bare, self.bn = fast.precision, model, bn
        self.model_copy: ModelCopy | None = None
        self.undefined: UndefinedGradients | None = None
        # The evaluator counts passes by a module around the user's model. The copy is made of the model inside, and
        # `around` puts the same watch on the copy.
        self.watcher: Any = model if hasattr(model, "around") else None
        inner: Any = getattr(model, "model", None) if self.watcher is not None else model
        self.call: Model | None = self.watcher  # what copies images and looks at gradients by itself
        if isinstance(inner, nn.Module) and fast != Fast() and (fast != Fast(compile=fast.compile) or _on_gpu(inner)):
            self.model_copy = copy_of(inner, bn, fast)
            self.bare = self.model_copy.call
            self.call = None if self.watcher is None else self.watcher.around(self.bare)

    def __call__(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            if self.call is not None:
                return ask(self.call, x)
            seen = x if self.undefined is None else self.undefined.watch(x)
            return ask(self.bare, seen.clone())

    def look_at_gradients(self) -> UndefinedGradients | None:
        """From now on; None where a watcher does so."""
        self.undefined = UndefinedGradients() if self.watcher is None else None
        return self.undefined

    @property
    def replayable(self) -> bool:
        """May a recorded step repeat what it does, unseen? A watcher must then take the count of passes afterwards."""
        return self.watcher is None or bool(self.watcher.takes_counts)

    def count_replay(self, forward: int, backward: int, undefined: Tensor | int) -> None:
        """Tell the watcher how many images passed, how many gradients came back, and how many of these were undefined
        in places, in a replay."""
        if self.watcher is not None:
            self.watcher.count(forward, backward, undefined)

    def for_recording(self, passes: PassCount) -> AttackedModel:
        """The same model, counted by `passes`, with no way back to its copy or to a watcher: a recording is kept by the
        copy, and a circle of the two would wait for the garbage collector."""
        attacked = copy.copy(self)
        attacked.model_copy = attacked.watcher = attacked.undefined = None
        attacked.call = passes.around(self.bare)
        return attacked


class PassCount:
    """How many images pass through a model, and how many gradients come back, until it is stopped. `undefined`, int64
    (N,) at an address of its own, goes on counting how many gradients of each image are NaN or infinite in places: a
    replay does so unseen."""

    def __init__(self, undefined: Tensor | None = None) -> None:
        self.forward = self.backward = 0
        self.on, self.undefined = True, undefined

    def around(self, f: Model) -> Model:
        """The model f, on copies of its input, which it may write into, and with its passes counted."""

        def counted(x: Tensor) -> Tensor:
            if self.on:
                self.forward += len(x)
            if x.requires_grad and (self.on or self.undefined is not None):
                x = x.view_as(x)  # a hook on the caller's own tensor would stay there
                x.register_hook(self._came_back)
            return f(x.clone())

        return counted

    def stop(self) -> tuple[int, int]:
        """Stop counting, and return (forward, backward)."""
        self.on = False
        return self.forward, self.backward

    def _came_back(self, grad: Tensor) -> None:
        if self.on:
            self.backward += len(grad)
        if self.undefined is not None:
            self.undefined += is_undefined(grad)


def _on_gpu(model: nn.Module) -> bool:
    return any(p.is_cuda for p in model.parameters())


def input_grad(f: Model, x_adv: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate the objective in the images: the gradient of sum objective(f(x_adv)) in x_adv (N, C, H, W), the
    logits (N, K), and objective(logits) (N,). Since examples do not see each other, row n of the gradient is that of
    example n alone. No gradient of a parameter is computed."""
    with torch.enable_grad(), climbing():
        point = x_adv.detach().requires_grad_()
        logits = f(point)
        loss = objective(logits)
        grad = differentiate(loss.sum(), point) if loss.requires_grad else None
    if grad is None:
        raise checks.NoGradient(
            "the model's output does not depend differentiably on its input, so it has no gradient to follow"
        )
    return finite_or_zero(grad), logits.detach(), loss.detach()


def finite_or_zero(grad: Tensor) -> Tensor:
    """The gradient, but zero, which is no direction, where it is infinite or undefined."""
    # On a CPU a sum over all entries is cheaper than rewriting them, and shows whether any is not finite.
    if no_sync(grad) or not bool(grad.flatten(1).sum(1).isfinite().all()):
        return grad.nan_to_num(0.0, 0.0, 0.0)
    return grad
