"""The hosts' own tests on our classes, beside the same tests on the hosts' own classes.

    python -m benchmarks.host_suites [--foolbox CHECKOUT] [--art CHECKOUT] [--mnist MNIST.npz] [--out FILE]

CHECKOUT is a copy of the host's repository, whose tests are run and not copied; its package need not be installed from
there. ART's tests import TensorFlow, and read the MNIST file that Keras has (arrays x_train, y_train, x_test, y_test),
which the pixels of `mrt.data.mnist` give as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.environment import environment

ROOT = Path(__file__).resolve().parents[1]
Outcomes = dict[str, tuple[str, str]]  # by test: (passed, failed or skipped; the last line of why)

FOOLBOX = "test_attacks test_attacks_base test_attacks_raise test_eot_wrapper test_spatial_attack test_devutils"
ART = (
    "tests/attacks/evasion/test_auto_projected_gradient_descent.py tests/attacks/evasion/test_auto_attack.py "
    "tests/attacks/evasion/test_projected_gradient_descent_pytorch.py tests/attacks/evasion/test_frame_saliency.py "
    "tests/defences/trainer/test_adversarial_trainer_madry_pgd.py "
    "tests/defences/trainer/test_adversarial_trainer_trades_pytorch.py"
)


def run_suite(host: str, checkout: Path, ours: bool, mnist: Path | None) -> Outcomes:
    """What becomes of each of the host's tests."""
    with tempfile.TemporaryDirectory() as folder:
        found, home = Path(folder) / "outcomes.json", Path(folder) / "home"
        data = home / ".art" / "data"
        data.mkdir(parents=True)
        if mnist is not None:
            shutil.copy(mnist, data / "mnist.npz")
        paths = [str(ROOT), str(ROOT / "adapters"), str(checkout / "tests") if host == "foolbox" else str(checkout)]
        more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        settings = {"OURS": str(int(ours)), "OUTCOMES": str(found), "HOME": str(home), "OMP_NUM_THREADS": "1"}
        variables = os.environ | settings | {"PYTHONPATH": os.pathsep.join([*paths, *filter(None, more)])}
        if host == "foolbox":
            tests = ["--backend", "pytorch", *(f"tests/{name}.py" for name in FOOLBOX.split())]
        else:
            tests = ["--framework=pytorch", *(name for name in ART.split() if (checkout / name).is_file())]
        plugins = ["-p", "benchmarks.suites.outcomes", "-p", f"benchmarks.suites.on_{host}", "-p", "no:cacheprovider"]
        alone = ["-o", "addopts=", "-W", "ignore", "--tb=line"]  # without what their settings add, such as coverage
        command = [sys.executable, "-m", "pytest", "-q", *alone, *plugins, *tests]
        done = subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True)
        if not found.is_file():
            raise SystemExit(f"{host}'s tests did not run:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return {test: (outcome, why) for test, (outcome, why) in json.loads(found.read_text("utf-8")).items()}


def counted(outcomes: Outcomes) -> dict[str, int]:
    count = Counter(outcome for outcome, _ in outcomes.values())
    return {word: count[word] for word in ("passed", "failed", "skipped")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--foolbox", type=Path, help="a checkout of Foolbox's repository")
    parser.add_argument("--art", type=Path, help="a checkout of ART's repository")
    parser.add_argument("--mnist", type=Path, help="the MNIST file that ART's tests look for")
    parser.add_argument("--out", type=Path, help="a file for the result")
    args = parser.parse_args()
    hosts = {"foolbox": args.foolbox, "art": args.art}
    if not any(hosts.values()):
        parser.error("give --foolbox or --art")
    result: dict[str, object] = {"environment": environment()}
    for host, checkout in hosts.items():
        if checkout is None:
            continue
        if not (checkout / "tests").is_dir():
            parser.error(f"--{host} must be a checkout of the repository, with its tests; got {checkout}")
        own, ours = (run_suite(host, checkout.resolve(), flag, args.mnist) for flag in (False, True))
        print(f"{host:<8} {'passed':>7} {'failed':>7} {'skipped':>8}")
        for label, outcomes in (("its own", own), ("ours", ours)):
            print(f"{label:<8} {' '.join(f'{n:>7}' for n in counted(outcomes).values())}", flush=True)
        failures = {test: why for test, (outcome, why) in ours.items() if outcome == "failed"}
        for test, why in failures.items():
            same = " (its own fails, too)" if own.get(test, ("",))[0] == "failed" else ""
            print(f"  {test}{same}: {why[:200]}")
        result[host] = {"its own": counted(own), "ours": counted(ours), "failures of ours": failures}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
