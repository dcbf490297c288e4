"""README.md, CONTRIBUTING.md: the tests keep to the house's rules: none imports another, each says what it holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support import ROOT

FILES = sorted((ROOT / "tests").rglob("test_*.py"))
FOLDERS = ("mrt/", "adapters/", "benchmarks/", "examples/")
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())


def imports_of_tests(code: str) -> list[str]:
    """The modules whose last part begins with `test_`, wherever in the code they are imported; text that is run as a
    program of its own counts, too."""
    found: list[str] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += re.findall(r"^\s*(?:from|import) (tests\.[\w.]+)", node.value, re.MULTILINE)
            found += re.findall(r"^\s*import .*?\b(tests\.[\w.]+)", node.value, re.MULTILINE)
    return [name for name in found if name.split(".")[0] == "tests" and name.split(".")[-1].startswith("test_")]


def named_paths(line: str) -> list[str]:
    """The words of the line that look like a path from the root, files at the top among them."""
    words = [word.strip("`(),.;:") for word in line.strip('"').split()]
    return [word for word in words if word.startswith(FOLDERS) or re.fullmatch(r"[\w-]+\.(?:md|cfg|toml)", word)]


@every_file
def test_no_test_file_imports_another(path: Path) -> None:
    """What two of them share stands in a support.py."""
    assert imports_of_tests(path.read_text("utf-8")) == []


def test_the_import_check_sees() -> None:
    for code in (
        "from HERE.training.test_loop import toy",
        "import HERE.test_inputs as other",
        "from HERE.training import test_loop",
        "def late():\n    from HERE.cli.test_demo import run",
        "SCRIPT = '''if True:\n    import sys, HERE.test_gpu_ladder as test'''",
        "SCRIPT = 'from HERE.training.test_processes import train'",
    ):
        assert imports_of_tests(code.replace("HERE", "tests")), code
    assert imports_of_tests("from tests.support import toy\nfrom tests.pretend import Gpu\nimport test_of_a_user") == []


@every_file
def test_the_first_line_says_which_files_are_held(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    named = named_paths(doc.partition("\n")[0])
    assert named, f"the first line of {path.name} names no file of mrt/, adapters/, benchmarks/ or examples/"
    for name in named:
        assert (ROOT / name).exists(), f"{path.name} names {name}, which is not there"


def test_a_path_is_found_in_a_line() -> None:
    assert named_paths("mrt/attacks/pgd.py, slide.py: what they find.") == ["mrt/attacks/pgd.py"]
    assert named_paths("setup.cfg, README.md: an installation") == ["setup.cfg", "README.md"]
    assert named_paths("The loop against plain loops.") == []
