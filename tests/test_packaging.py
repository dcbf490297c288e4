"""setup.cfg, README.md, CHANGELOG.md and every import in mrt/: What a user installs: the packages, the wheel, what
`import mrt` costs, and who imports whom."""

import ast
import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import apart
from tests.matrix_smoke import build_wheel, count_tests, parse_combinations, readme_code
from tests.support import ROOT

ADAPTERS = ROOT / "adapters"

# Each part of mrt and all that it may import, itself and the standard library aside.
LAYERS = {
    "checks": "torch",
    "fast": "checks",
    "protocols": "torch fast",
    "kernels": "torch triton",
    "config": "checks",
    "files": "numpy",
    "weights": "torch checks files",
    "processes": "torch",
    "locks": "records",
    "stopping": "",
    "records": "torch",
    "threats": "torch checks protocols kernels",
    "crafting": "torch checks fast protocols kernels threats",
    "attacks": "torch checks fast protocols kernels threats crafting",
    "models": "torch checks protocols",
    "data": "torch torchvision numpy PIL sklearn checks files protocols threats",
    "inputs": "torch numpy robustbench checks config protocols records weights models data",
    "generators": "torch rich checks fast protocols records threats weights crafting attacks data",
    "strategies": "torch checks fast protocols threats crafting attacks generators",
    "hosts": "torch numpy checks fast protocols threats crafting attacks data inputs",
    "evaluation": "torch numpy PIL jinja2 rich checks config fast files locks protocols processes records stopping "
    "threats crafting attacks data inputs hosts",
    "training": "torch numpy rich checks config processes fast files locks protocols records stopping threats weights "
    "crafting attacks data inputs strategies",
    "recipes": "checks protocols threats evaluation",
    "cli": "torch tyro rich checks config fast files protocols records stopping threats weights attacks data inputs "
    "evaluation generators models recipes strategies training",
}
# Everything may be imported by mrt/__init__.py.
EVERYTHING = " ".join(LAYERS)


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(sys.executable, tmp_path_factory.mktemp("build"), "--no-index", "--no-build-isolation")


def package_files() -> list[tuple[Path, str]]:
    """(file, its path in an installation) of everything in mrt/ and in the packages under adapters/."""
    pairs = [(path, path.relative_to(ROOT)) for path in (ROOT / "mrt").rglob("*")]
    packages = [path.parent for path in ADAPTERS.glob("*/__init__.py")]
    pairs += [(path, path.relative_to(ADAPTERS)) for package in packages for path in package.rglob("*")]
    return [(path, name.as_posix()) for path, name in pairs if path.is_file() and "__pycache__" not in path.parts]


def test_the_package_list_is_the_folders(config: configparser.ConfigParser) -> None:
    listed = config["options"]["packages"].split()
    folders = [name.removesuffix("/__init__.py") for _, name in package_files() if name.endswith("/__init__.py")]
    assert sorted(listed) == sorted(folder.replace("/", ".") for folder in folders)


def test_every_package_tells_type_checkers_that_it_is_typed(config: configparser.ConfigParser) -> None:
    installed = {name for _, name in package_files()}
    for package in {name.split(".")[0] for name in config["options"]["packages"].split()}:
        assert f"{package}/py.typed" in installed
        assert "py.typed" in config["options.package_data"][package]


def test_the_changelog_moves_with_the_version(config: configparser.ConfigParser) -> None:
    versions = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] == config["metadata"]["version"]


def test_the_floor_is_every_lower_bound(config: configparser.ConfigParser) -> None:
    """Of what is asked for in an extra as well, where no package may have another bound than elsewhere."""
    asked = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    bounds = {line.strip().replace(">=", "==") for text in asked for line in text.splitlines() if line.strip()}
    pinned = {file: pins(file) for file in ("floor.txt", "newest.txt", "torch.txt")}
    assert len(bounds) > 15 and sorted(bounds) == sorted(pinned["floor.txt"])
    names = {bound.partition("==")[0] for bound in bounds}
    assert names <= {pin.partition("==")[0] for pin in pinned["newest.txt"] + pinned["torch.txt"]}


def pins(file: str) -> list[str]:
    """["numpy==2.1", "torch==2.10"] of a file in tests/versions."""
    lines = (ROOT / "tests" / "versions" / file).read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ("PIP_ARGS=", ["newest.txt", "torch.txt"]),
        ("PIP_ARGS=--extra-index-url https://download.pytorch.org/whl/cpu", ["newest.txt", "torch.txt"]),
        ("PIP_ARGS=torch==2.11.0 torchvision==0.26.0", ["newest.txt"]),
        ("CONSTRAINTS=", []),
    ],
)
def test_make_pins_versions_unless_it_is_told_otherwise(given: str, files: list[str]) -> None:
    make = ["make", "-n", "-B", ".venv/.stamp", given]
    said = subprocess.run(make, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    assert re.findall(r"-c tests/versions/(\S+)", said) == files * 2  # with the tests' packages, and for adv-lib alone


def test_the_matrix_reads_its_words_and_pytests_last_line() -> None:
    assert parse_combinations(["3.13-newest", "3.10"]) == [("3.13", "newest"), ("3.10", "floor"), ("3.10", "newest")]
    for word in ("3.9", "3.10-oldest", "torch"):
        with pytest.raises(ValueError, match=f"got '{word}'"):
            parse_combinations([word])
    assert count_tests("...\n2 failed, 98 passed, 1 skipped in 3.21s (0:00:03)\n") == "2 failed, 98 passed, 1 skipped"
    assert count_tests("100 passed in 213.25s") == "100 passed"


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {name for _, name in package_files()}


def test_the_readme_runs_from_a_wheel_in_another_folder(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(wheel)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    which = f"import mrt\nassert mrt.__file__.startswith({str(tmp_path)!r}), mrt.__file__\n"
    (elsewhere / "readme.py").write_text(which + apart.FEWER + readme_code(), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run([sys.executable, "readme.py"], check=True, cwd=elsewhere, env=environment, timeout=900)


def test_importing_mrt_loads_no_host_and_nothing_else_that_is_large() -> None:
    code = """if True:
        import sys, torch
        before = set(sys.modules)
        import mrt
        print(*{name.split(".")[0] for name in set(sys.modules) - before})"""
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert "mrt" in loaded
    large = {"foolbox", "art", "autoattack", "pyautoattack", "adv_lib", "torchvision", "sklearn", "matplotlib"}
    assert not large & set(loaded)


def imports(code: str, package: str) -> set[str]:
    """The parts of mrt and the foreign packages that the code imports, at its top or inside; package resolves dots."""
    names = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names += [f"{base}.{alias.name}" for alias in node.names] if base == "mrt" else [base]
    parts = [name.split(".") for name in names]
    own = {name[1] if len(name) > 1 else "mrt" for name in parts if name[0] == "mrt"}
    return own | {name[0] for name in parts if name[0] != "mrt" and name[0] not in sys.stdlib_module_names}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import os, torch.nn", {"torch"}),
        ("from ..attacks import PGD", {"attacks"}),
        ("from .balls import L1", {"threats"}),
        ("from . import balls", {"threats"}),
        ("from .. import attacks", {"attacks"}),
        ("from mrt import PGD", {"PGD"}),
        ("import mrt", {"mrt"}),
        ("def f():\n    from mrt.data import digits", {"data"}),
    ],
)
def test_the_import_check_sees(code: str, found: set[str]) -> None:
    assert imports(code, "mrt.threats") == found


MODULES = [(path, name) for path, name in package_files() if name.startswith("mrt/") and name.endswith(".py")]


@pytest.mark.parametrize(("path", "name"), MODULES, ids=[name for _, name in MODULES])
def test_imports_point_one_way(path: Path, name: str) -> None:
    layer = name.split("/")[1].removesuffix(".py")
    allowed = EVERYTHING if layer == "__init__" else LAYERS[layer]
    assert imports(path.read_text("utf-8"), name.rpartition("/")[0].replace("/", ".")) <= {layer, *allowed.split()}


def module_of(name: str) -> str:
    """mrt/threats/balls.py as mrt.threats.balls, and mrt/threats/__init__.py as mrt.threats."""
    return name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def imported_modules(code: str, modules: set[str]) -> set[str]:
    """The modules of mrt that the code imports, wherever in it: `from mrt.threats import noise` is mrt.threats.noise,
    and a name that is no module is its package's."""
    found = set[str]()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            each = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in each}
    return found & modules


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or through others."""

    def reach(start: str) -> set[str]:
        seen, waiting = set[str](), [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    reached = {name: reach(name) for name in graph}
    groups = {frozenset({name} | {other for other in graph if other in reached[name] and name in reached[other]})
              for name in graph if name in reached[name]}  # fmt: skip
    return sorted(sorted(group) for group in groups)


def test_the_search_for_circles_finds_them() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []
    assert imported_modules("def f():\n    from mrt.a import b, C", {"mrt.a", "mrt.a.b"}) == {"mrt.a", "mrt.a.b"}


def test_no_files_import_each_other() -> None:
    modules = {module_of(name): path for path, name in MODULES}
    graph = {name: imported_modules(path.read_text("utf-8"), set(modules)) for name, path in modules.items()}
    assert sum(map(len, graph.values())) > 300
    assert circles(graph) == []
