"""mrt/ and adapters/ hold the text of every mutant of tests/mutants.py exactly once, and its tests exist."""

from __future__ import annotations

import ast

from tests.mutants import MUTANTS
from tests.support import ROOT


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def test_every_mutant_can_be_made() -> None:
    """As tests.mutants makes it: that text is replaced, and those tests are run."""
    texts: dict[str, str] = {}
    wrong = []
    for file, line, replacement, tests in MUTANTS:
        name = file if file.startswith("adapters/") else f"mrt/{file}"
        if name not in texts:
            path = ROOT / name
            texts[name] = path.read_text("utf-8") if path.is_file() else ""
        count = texts[name].count(line)
        if count != 1:
            wrong.append(f"{name} holds {line!r} {count} times")
        elif name.endswith(".py") and not is_python(texts[name].replace(line, replacement)):
            wrong.append(f"{name} is no Python with {replacement!r} in place of {line!r}: any test would fail")
        if line == replacement:
            wrong.append(f"{name}: {line!r} is replaced by itself")
        if not (ROOT / "tests" / tests).is_file():
            wrong.append(f"{name}: there is no tests/{tests} for {line!r}")
    assert not wrong, "\n".join(wrong)
    assert len(set(MUTANTS)) == len(MUTANTS)
