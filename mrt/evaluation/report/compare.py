"""Are two figures of the same examples different, or could that be chance? McNemar's exact test."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Difference:
    """Two accuracies on the same n examples, how many of these only one of the two gets right, and `p`: how often a
    fair coin would divide those at least as unevenly."""

    first: float
    second: float
    first_only: int
    second_only: int
    p: float
    n: int

    def __str__(self) -> str:
        points = 100 * (self.second - self.first)
        alone = f"{self.second_only} examples right in the second alone, {self.first_only} in the first"
        return f"{points:+.1f} points ({alone}; p = {self.p:.2g}, n = {self.n})"


def mcnemar(first: Tensor, second: Tensor) -> Difference:
    """Compare two masks (n,) of the same examples, by McNemar's exact two-sided test: examples on which both agree say
    nothing about which is better, and of the others each side should have half."""
    n = len(first)
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    apart = first_only + second_only
    # Twice the tail of the fair coin's binomial, which both sides share; whole numbers, so that nothing is rounded.
    tail, term = 0, 1
    for k in range(min(first_only, second_only) + 1):
        tail += term
        term = term * (apart - k) // (k + 1)  # from (apart over k) to (apart over k + 1)
    p = min(1.0, 2 * tail / 2**apart)
    return Difference(int(first.sum()) / n, int(second.sum()) / n, first_only, second_only, p, n)
