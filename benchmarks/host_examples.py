"""The hosts' own examples with nothing but their imports changed, beside the examples as they are.

    python -m benchmarks.host_examples [--foolbox CHECKOUT] [--art CHECKOUT] [--only WORD ...] [--out FILE]

CHECKOUT is a copy of the host's repository. Those of its scripts and notebooks run that import PyTorch (or a network of
torchvision) and an attack or a trainer of the host: first as shipped, then with `foolbox.attacks`, `foolbox`,
`art.attacks.evasion` and `art.defences.trainer` replaced in the import lines. In both, epochs and Foolbox's sample
images are cut to 2, and data sets and pretrained networks are stood in for (suites/stand_ins.py): it is seen whether a
script runs, not what its figures are. Of a notebook the cells run in order; its lines for a shell are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.environment import environment

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"foolbox": ("examples",), "art": ("examples", "notebooks")}
SWAPS = (  # of import lines
    (r"\b(from|import) foolbox(\.attacks)?(?= import|\s*$| as)", r"\1 mrt_foolbox\2"),
    (r"\bfrom art\.(attacks\.evasion|defences\.trainer)[\w.]*(?= import)", r"from mrt_art"),
)
TORCH = re.compile(r"^\s*(?:import|from) torch", re.MULTILINE)
OTHERS = re.compile(r"^\s*(?:import|from) (?:tensorflow|keras|jax)", re.MULTILINE)
LESS = re.compile(r"((?:epochs|batchsize)\s*=\s*)\d+")  # epochs of training, images of Foolbox's own


def code_of(path: Path) -> str:
    if path.suffix == ".py":
        return path.read_text("utf-8")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("!", "%")))


def with_our_imports(code: str) -> str:
    """The same code, which imports ours."""
    for pattern, ours in SWAPS:
        code = re.sub(pattern, ours, code, flags=re.MULTILINE)
    return code


def run(code: str, beside: Path, seconds: float) -> dict[str, object]:
    """How the code ends: "runs", the last line of its error, or "cut off"; and the lines that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "example"
        shutil.copytree(beside, here)  # modules and files that an example needs
        (here / "this_example.py").write_text(LESS.sub(r"\g<1>2", code), "utf-8")
        paths = [str(here), str(ROOT), str(ROOT / "adapters"), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {"PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "Agg", "HOME": folder}
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.suites.stand_ins", "this_example.py"]
        began = time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=here, env=os.environ | settings, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return {"ends": f"cut off after {seconds:g} s", "prints": [], "seconds": seconds}
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        ends = "runs" if done.returncode == 0 else said[-1][:300] if said else f"exit status {done.returncode}"
        return {"ends": ends, "prints": done.stdout.splitlines()[-20:], "seconds": round(time.monotonic() - began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--foolbox", type=Path, help="a checkout of Foolbox's repository")
    parser.add_argument("--art", type=Path, help="a checkout of ART's repository")
    parser.add_argument("--only", nargs="+", default=[""], help="examples whose path holds one of these words")
    parser.add_argument("--seconds", type=float, default=300, help="the most that one example may take")
    parser.add_argument("--out", type=Path, help="a file for the result")
    args = parser.parse_args()
    hosts = {"foolbox": args.foolbox, "art": args.art}
    if not any(hosts.values()):
        parser.error("give --foolbox or --art")
    examples: list[dict[str, object]] = []
    for host, checkout in hosts.items():
        for folder in FOLDERS[host] if checkout else ():
            if not (checkout / folder).is_dir():
                parser.error(f"--{host} must be a checkout of the repository, with its {folder}; got {checkout}")
            for path in sorted(p for p in (checkout / folder).rglob("*") if p.suffix in (".py", ".ipynb")):
                code = code_of(path)
                swapped = with_our_imports(code)
                if swapped == code or not TORCH.search(code) or OTHERS.search(code):
                    continue
                if not any(word in str(path) for word in args.only):
                    continue
                own, ours = (run(text, path.parent, args.seconds) for text in (code, swapped))
                name = str(path.relative_to(checkout))
                examples.append({"host": host, "example": name, "as shipped": own, "our imports": ours})
                same = "as shipped" if own["ends"] == ours["ends"] else f"as shipped: {own['ends']}"
                print(f"{host} {name}: {ours['ends']} ({same})", flush=True)
    if args.out:
        result = {"environment": environment(), "seconds": args.seconds, "examples": examples}
        args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
