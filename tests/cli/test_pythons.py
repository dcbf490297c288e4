"""mrt/cli/train_options.py: What one Python has otherwise than the next, made so on the Python at hand."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from mrt.cli import train_options
from mrt.cli.train_command import Command
from mrt.data import augment

WORDS = ["msd", "--threats", "linf=0.2", "--augment", "crop-flip", "--pad", "2", "--mode", "zero"]


def test_a_mark_of_keyword_only_fields_that_is_refused_as_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.10 refuses the mark itself; a tuple is refused by every Python."""
    monkeypatch.setattr(augment, "KW_ONLY", ())
    found = train_options.parse_command(WORDS)
    assert isinstance(found, Command) and found.crop == {"pad": 2, "mode": "zero", "flip": True}


def test_an_annotated_that_is_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.13 on it has nothing but its square brackets."""

    class OnlyBrackets:
        def __getitem__(self, parameters: Any) -> Any:
            return Annotated[parameters]

    monkeypatch.setattr(train_options, "Annotated", OnlyBrackets())
    found = train_options.parse_command(WORDS)
    assert isinstance(found, Command) and found.settings["steps"] == 10
