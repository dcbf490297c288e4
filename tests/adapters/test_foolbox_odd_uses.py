"""adapters/mrt_foolbox/host_named.py: No odd use of a host-named attack differs from the host's in silence."""

from __future__ import annotations

import pytest

from tests.hosts.odd_uses import Outcome, Row, print_table, unexplained
from tests.hosts.odd_uses_foolbox import KNOWN, USES, compare


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 9])
def test_no_use_differs_in_silence(every: int, capsys: pytest.CaptureFixture[str]) -> None:
    rows = compare(every)
    assert len(USES) >= 120 and set(KNOWN) <= set(USES)
    assert not [(row.use, row.host.text, row.ours.text) for row in unexplained(rows, KNOWN)]
    print_table(rows, KNOWN)
    assert f"{len(rows)} uses; " in capsys.readouterr().out


def test_what_would_be_noticed() -> None:
    fine, other, weak = Outcome("", "a", 5), Outcome("", "b", 5), Outcome("", "a", 3)
    crash, refusal = (Outcome("", "error", error=e) for e in (RuntimeError("torn"), ValueError("one line")))
    long = Outcome("", "error", error=ValueError("two\nlines"))
    pairs = [(fine, fine), (fine, other), (fine, weak), (weak, fine), (fine, refusal), (crash, refusal), (crash, fine)]
    verdicts = [Row("use", *pair).verdict for pair in pairs]
    assert verdicts == ["same", "differs", "differs", "same", "ours refuses", "both refuse", "ours runs"]
    told = [len(unexplained([Row("use", *pair)], {})) for pair in [*pairs, (crash, crash), (crash, long)]]
    assert told == [0, 1, 1, 0, 1, 0, 0, 1, 1]
    assert not unexplained([Row("LinfPGD: use", fine, other)], {"use": "why"})
