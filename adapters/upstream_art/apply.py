"""Brings SLIDE, MSD and training with MSD into a checkout of ART's repository, ready for a pull request.

python adapters/upstream_art/apply.py CHECKOUT
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
EVASION, TRAINERS = "art/attacks/evasion/__init__.py", "art/defences/trainer/__init__.py"
IMPORTS = {  # the line after which each stands, and the lines
    EVASION: (
        "from art.attacks.evasion.lowprofool import LowProFool",
        "from art.attacks.evasion.multi_steepest_descent import MultiSteepestDescent\n"
        "from art.attacks.evasion.sparse_l1_descent import SparseL1Descent",
    ),
    TRAINERS: (
        "from art.defences.trainer.adversarial_trainer_trades_pytorch import AdversarialTrainerTRADESPyTorch",
        "from art.defences.trainer.adversarial_trainer_msd import AdversarialTrainerMSD\n"
        "from art.defences.trainer.adversarial_trainer_msd_pytorch import AdversarialTrainerMSDPyTorch",
    ),
}
STANZAS = {  # the heading before which each stands, and (heading, class)
    "docs/modules/attacks/evasion.rst": (
        "Auto Conjugate Gradient (Auto-CG)",
        [("Sparse l1 Descent (SLIDE)", "SparseL1Descent"), ("Multi Steepest Descent (MSD)", "MultiSteepestDescent")],
    ),
    "docs/modules/defences/trainer.rst": (
        "Base Class Adversarial Training Fast is Better than Free",
        [
            ("Base Class Adversarial Training MSD", "AdversarialTrainerMSD"),
            ("Adversarial Training MSD - PyTorch", "AdversarialTrainerMSDPyTorch"),
        ],
    ),
}


def stanza(heading: str, name: str) -> str:
    return f"{heading}\n{'-' * len(heading)}\n.. autoclass:: {name}\n   :members:\n   :special-members:\n\n"


def with_text(path: Path, mark: str, text: str, after: bool) -> str:
    """What the file holds, with the text after, or before, the line `mark`."""
    content = path.read_text("utf-8")
    if text in content:
        return content
    if f"{mark}\n" not in content:
        raise SystemExit(f"{path} has no line {mark!r}: this script is for ART 1.20; nothing was changed")
    return content.replace(f"{mark}\n", f"{mark}\n{text}" if after else f"{text}{mark}\n", 1)


def apply(checkout: Path) -> list[str]:
    """Bring everything in; return the files that changed."""
    sources = [*(HERE / "art").rglob("*.py"), *(HERE / "tests").rglob("*.py")]
    wanted = {str(source.relative_to(HERE)): source.read_text("utf-8") for source in sorted(sources)}
    for file, (mark, lines) in IMPORTS.items():
        wanted[file] = with_text(checkout / file, mark, f"{lines}\n", after=True)
    for file, (mark, parts) in STANZAS.items():
        wanted[file] = with_text(checkout / file, mark, "".join(stanza(*part) for part in parts), after=False)
    paths = {file: checkout / file for file in wanted}
    changed = [f for f, path in paths.items() if not path.is_file() or path.read_text("utf-8") != wanted[f]]
    for file in changed:
        paths[file].write_text(wanted[file], "utf-8")
    return changed


def main() -> None:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / EVASION).is_file():
        raise SystemExit(f"{__doc__}\nCHECKOUT must be a checkout of ART's repository; got {sys.argv[1:]}")
    print("\n".join(apply(Path(sys.argv[1]))) or "nothing to change")


if __name__ == "__main__":
    main()
