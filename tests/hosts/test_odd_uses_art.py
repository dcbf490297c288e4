"""adapters/mrt_art/: What odd uses of ART's attacks and trainers come to, beside ART's own classes."""

from __future__ import annotations

import re

import pytest

from tests.hosts import odd_uses_art, odd_uses_art_list, odd_uses_art_models  # noqa: F401 - they fill USES
from tests.hosts.odd_uses_art import DIFFERS, REFUSED, USES
from tests.support import ROOT

KIND = re.compile(r"(ValueError|TypeError|EstimatorError|NoNumbers|NoGradient|ModelFailed|OutOfBounds): .")
ALL = list(USES)
KNOWN = [name for name in ALL if name in REFUSED or name in DIFFERS]


def check(names: list[str]) -> None:
    """No difference that is not explained, every refusal in one line of words."""
    for name, word, theirs, ours in odd_uses_art.compare(names):
        assert word != "differs" or name in DIFFERS, (name, theirs, ours)
        assert word != "refused" or name in REFUSED, (name, theirs, ours)
        if word == "refused" or (word == "both refuse" and not ours.startswith(theirs.split(":")[0])):
            assert "\n" not in ours and KIND.match(ours), ours


def test_there_are_many_and_the_manual_counts_them() -> None:
    assert len(ALL) >= 120 and set(REFUSED) | set(DIFFERS) <= set(ALL)
    assert f"{len(ALL)} odd uses" in (ROOT / "docs" / "hosts.md").read_text("utf-8")


@pytest.mark.parametrize("part", range(4))
def test_odd_uses(part: int) -> None:
    """Of what is explained, and every fifth of the others; all of them in the slow test."""
    check(([n for n in ALL if n not in KNOWN][::5] + KNOWN)[part::4])


@pytest.mark.slow
def test_every_odd_use() -> None:
    check(ALL)
