"""examples/, each file of it: Every example runs as it stands, in a process of its own, and stays short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import apart
from tests.support import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SCRIPTS = [path for path in EXAMPLES if path.stem.endswith("_script")]  # a host's, with other imports
WAS = re.compile(r"^( *)(?!#)\S.*?  # was: (.*?)(?:  # .*)?$", re.MULTILINE)


def run(path: Path, folder: Path, *more: str) -> str:
    program = apart.Program(apart.FEWER + apart.script(path), "--images", "6", *more, cwd=folder)
    assert program.wait() == 0, program.errors
    assert "union" in program.output
    return program.output


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p not in SCRIPTS], ids=lambda path: path.stem)
def test_the_example_runs(path: Path, tmp_path: Path) -> None:
    quick = ["--updates", "10"] if "learned" in path.stem else []
    run(path, tmp_path, "--out", str(tmp_path / "out"), *quick)
    assert (tmp_path / "out" / "index.html").is_file()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_hosts_script_runs_with_our_lines_and_with_its_own(path: Path, tmp_path: Path) -> None:
    """Only the lines differ that say what they were; put back, the script is the host's."""
    text, quick = path.read_text("utf-8"), ["--epochs", "2"] if "art" in path.stem else []
    theirs = WAS.sub(r"\1\2", text)
    changed = [a for a, b in zip(text.splitlines(), theirs.splitlines(), strict=True) if a != b]
    assert 1 <= len(changed) <= 3 and not re.search(r"^(?:import|from) mrt_", theirs, re.MULTILINE)
    (tmp_path / "theirs.py").write_text(theirs, "utf-8")
    assert run(path, tmp_path, *quick) != run(tmp_path / "theirs.py", tmp_path, *quick)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_documents_show_those_lines(path: Path) -> None:
    """The page on hosts all of them, the README one for each host."""
    readme, page = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/hosts.md"))
    shown = []
    for line in path.read_text("utf-8").splitlines():
        if match := WAS.match(line):
            pair = (f"-{match.group(2)}\n", f"+{line.partition('  # was: ')[0].strip()}\n")
            assert all(part in page for part in pair), pair
            shown.append(all(part in readme for part in pair))
    assert any(shown)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < 80


def test_there_is_one_for_each_user() -> None:
    assert len(EXAMPLES) >= 3 and len(SCRIPTS) == 2
