"""README.md, CONTRIBUTING.md, docs/ and benchmarks/README.md: their code runs, their commands parse, their links lead
somewhere, and the doors stay short."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

from mrt.cli import train_options
from mrt.cli.main import Command
from tests.matrix_smoke import ROOT, code_of

README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
WITH_CODE = [page for page in PAGES if "```python\n" in page.read_text("utf-8")]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.filterwarnings("ignore::UserWarning")  # the doubts of an evaluation, which a reader sees as well
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks in order as one script, in a namespace of its own and an empty folder."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code_of(page), str(page), "exec"), {"__name__": "__main__"})


def commands(page: Path) -> list[list[str]]:
    """The words behind `mrt` of each command in its ```sh blocks, whatever starts the processes."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[words.index("mrt") + 1 :] for words in lines if "mrt" in words]


SHOWN = [(page.name, words) for page in PAGES for words in commands(page)]


def parsed(words: list[str]) -> Any:
    """What these words ask for, not run; SystemExit or ValueError where they make no sense."""
    found = train_options.parse_command(words[1:]) if words[:1] == ["train"] else None
    parse: Callable[..., Any] = tyro.cli
    return parse(Command, prog="mrt", args=words) if found is None else found


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=lambda value: value if isinstance(value, str) else value[0])
def test_a_command_that_is_shown_exists_with_its_options(page: str, words: list[str]) -> None:
    assert hasattr(parsed(words), "run")


def test_a_command_that_is_none_would_be_found() -> None:
    assert len(SHOWN) >= 4
    with pytest.raises(SystemExit):
        parsed(["evaluate", "model.pt", "--no-such-option", "1"])
    with pytest.raises(ValueError, match="strategy"):
        parsed(["train", "no-such-strategy"])


@pytest.mark.parametrize(("page", "limit"), [(README, 700), (CONTRIBUTING, 900)], ids=["README", "CONTRIBUTING"])
def test_the_doors_are_short(page: Path, limit: int) -> None:
    assert len(page.read_text("utf-8").split()) <= limit


@each_page
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {(README.parent / target).resolve() for target in LINK.findall(README.read_text("utf-8"))}
    assert {page.resolve() for page in PAGES} - {README} <= linked


NAMED = re.compile(r"`((?:mrt|adapters|tests|benchmarks|examples|docs)/[\w./-]*)`")


@each_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    for name in NAMED.findall(page.read_text("utf-8")):
        assert (ROOT / name).exists(), name


def test_the_picture_shows_the_table() -> None:
    """Beside each way of training the union of the demo's table."""
    row = r"^(\S.*?)  +(?:\d+\.\d +){4}(\d+\.\d) \(\d+\.\d–\d+\.\d\) +\d+\.\d +200$"
    rows = re.findall(row, README.read_text("utf-8"), re.MULTILINE)
    picture = (ROOT / "docs" / "demo.svg").read_text("utf-8")
    drawn = re.findall(r'text-anchor="end">(.*?)</text>.*?class="value"[^>]*>(.*?)</text>', picture, re.DOTALL)
    assert len(rows) == 7 and drawn == rows


@each_page
def test_a_result_file_that_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"\b\d{4}-\d\d-\d\d_[\w.-]+\.json\b", page.read_text("utf-8")):
        assert (ROOT / "benchmarks" / "results" / name).is_file(), name


def test_the_reading_path_is_short() -> None:
    path = README.read_text("utf-8").partition("## Reading the code")[2]
    files = [ROOT / name for name in re.findall(r"^\d\. `(mrt/\S+)`", path, re.MULTILINE)]
    lines = sum(len(file.read_text("utf-8").splitlines()) for file in files)
    assert len(files) >= 6 and lines <= 700, lines
