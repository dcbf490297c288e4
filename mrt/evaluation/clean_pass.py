"""The first pass, on the clean images: what the model answers, and what its answers show that should make one doubt
the numbers to come."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mrt import checks
from mrt.crafting.checked_model import ask_any_number
from mrt.crafting.gradient import input_grad
from mrt.crafting.losses import ce
from mrt.crafting.undefined import CURE
from mrt.data.images import Images
from mrt.evaluation.exact import exact
from mrt.evaluation.judge import CountedModel, exact_logits, is_right
from mrt.protocols import Model

FLAT = 1e-30  # a gradient below this is lost in rounding wherever it is used
SHARE = 0.01  # of examples that may be flat, or newly broken without gradients, before it means anything
LEAST_TO_TELL = 30  # images: of fewer it cannot be told whether a model only guesses
LEAST = 3  # examples: fewer may be chance


@dataclass(frozen=True, eq=False)
class CleanPass:
    """What the model does on the clean images: its predictions, which are right, how many classes it has, whether a
    gradient connects its output to its input, whether its answers are random, and what to warn of."""

    predicted: Tensor
    correct: Tensor
    classes: int
    connected: bool
    random: bool
    warnings: list[str]


@exact()
def pass_clean_images(model: Model, data: Images, batch_size: int) -> CleanPass:
    """What the model answers to the clean images, with remarks on what is odd about it. Every image passes once; the
    first batch passes again, with a gradient, as it is, and by half."""
    outputs: list[Tensor] = []
    for index in torch.arange(len(data)).split(batch_size):
        outputs.append(_ask(model, data.float(index), outputs[0] if outputs else None))
    logits, y = torch.cat(outputs), data.y  # (n, K), (n,)
    classes = logits.shape[1]
    if int(y.max()) >= classes:
        raise ValueError(f"labels must be below {classes}, as the model has {classes} classes; got {int(y.max())}")
    if logits.isnan().any(1).all():
        raise ValueError("the model must return numbers for clean images; got NaN for every one")
    x, correct = data.float(torch.arange(min(batch_size, len(data)))), is_right(logits, y)
    remarks, connected = _look_at_gradient(model, x, y[: len(x)], correct[: len(x)])
    half = max(len(x) // 2, 1)
    # The same images in the same batch first: only where they get the same answers does another answer in a smaller
    # batch come from the batch mates.
    random = _differ(_ask(model, x, outputs[0]), logits[: len(x)])
    if not random and _differ(_ask(model, x[:half], outputs[0]), logits[:half]):
        remarks.append("the model's outputs depend on batch mates: a BatchNorm in train mode that cannot be reached?")
    # Within two standard deviations of what guesses get right.
    right, guessed = int(correct.sum()), len(y) / classes
    if len(y) >= LEAST_TO_TELL and right <= guessed + 2 * (guessed * (1 - 1 / classes)) ** 0.5:
        text = f"the model is right on {right} of {len(y)} clean images, no more than by chance"
        remarks.append(f"{text}: was it trained on normalised images, or with its classes in another order?")
    if classes < 4:
        remarks.append(
            f"the model has {classes} classes: the DLR loss needs four, so targeted APGD is weaker or left out"
        )
    if logits.isnan().any():
        remarks.append(f"the model answers NaN on {int(logits.isnan().any(1).sum())} clean images; they count as wrong")
    # Each row of a softmax is nonnegative and sums to 1; logits do neither, but by chance.
    if (logits >= 0).all() and ((logits.sum(1) - 1).abs() < 1e-4).all():
        remarks.append("the outputs look like probabilities: attacks on logits are weaker on a softmax; return logits")
    return CleanPass(logits.argmax(1).cpu(), correct.cpu(), classes, connected, random, remarks)


def _ask(model: Model, x: Tensor, before: Tensor | None) -> Tensor:
    """The model's logits for x; a ValueError where they have not as many classes as those `before`, for the first
    batch, or where the model takes batches of that size alone."""
    logits = exact_logits(model, x, 0 if before is None else len(before))
    if before is not None and logits.shape[1] != before.shape[1]:
        counts = f"{before.shape[1]} and then {logits.shape[1]}"
        raise ValueError(f"the model must always answer with equally many classes; got {counts}")
    return logits


def _differ(logits: Tensor, before: Tensor) -> bool:
    """Whether two answers to the same images differ by more than rounding."""
    # Kernels round differently in batches of different sizes; 1e-3 of the largest logit is far beyond that.
    rounding = 1e-3 * before.abs().nan_to_num().amax().clamp(min=1e-6)
    return bool(((logits - before).abs().nan_to_num() > rounding).any())


def _look_at_gradient(model: Model, x: Tensor, y: Tensor, correct: Tensor) -> tuple[list[str], bool]:
    """Remarks on a gradient that leads nowhere, and whether one connects the output to the input at all."""
    # Attacks start at what is classified correctly, so only there must the gradient lead somewhere.
    if not correct.any():
        return [], True
    x, y, answered = x[correct], y[correct], len(x)
    seen = CountedModel(model)
    try:
        grad, _, _ = input_grad(lambda z: ask_any_number(seen, z, answered), x, lambda logits: ce(logits.float(), y))
    except checks.NoGradient:
        return ["gradient masking: the model has no gradient, so gradient-based attacks show nothing"], False
    if seen.gradients.count > SHARE * len(x):
        text = "gradient masking: the gradient of the cross-entropy is NaN or infinite in places on"
        return [f"{text} {seen.gradients.count} of {len(x)} images, where attacks stand still: {CURE}"], True
    flat = int((grad.flatten(1).abs().amax(1) <= FLAT).sum())
    if flat < LEAST and flat < len(x) or flat <= SHARE * len(x):
        return [], True
    text = f"gradient masking: the gradient of the cross-entropy vanishes on {flat} of {len(x)} images"
    return [f"{text}, where attacks that follow it stand still"], True
