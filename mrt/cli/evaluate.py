"""`mrt evaluate`, and `mrt report`, which sets finished evaluations side by side."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from mrt import checks
from mrt.cli.methods import find_methods
from mrt.cli.parsing import SETS, check_data, load_data, parse_threat
from mrt.evaluation import Report, batteries, evaluate, load_model, read_battery
from mrt.evaluation.battery import Battery
from mrt.fast import Fast
from mrt.recipes import published
from mrt.records import write_file


@dataclass
class Evaluate:
    """Accuracy of a model under attack: clean, per attack, per threat, and over their union.

    The model is one of: package.module:factory (imported and called, which RUNS ITS CODE); a checkpoint of
    `mrt.save_model`; a state dict, with --factory; with --trust a torch.export program FILE.pt2 with a dynamic batch
    (which RUNS ITS CODE); robustbench:dataset/threat/name.
    The same command with the same --out goes on after a kill. Under torchrun the processes share the work.
    """

    model: tyro.conf.Positional[str]
    data: str = "digits"
    """digits, mnist, cifar10, cifar100, svhn, a FILE.npz with x and y, or a folder of class folders."""
    threats: tuple[str, ...] = ()
    """For a named battery: linf=8/255 l2=0.5 l1=12 l0=12 rt=30,3 (degrees, pixels)."""
    battery: str = "quick"
    """quick, standard, smallest, tramer-boneh, msd, mng-ac, l2l-da, pgn, or a battery's JSON file."""
    budget: float = 1.0
    """Scales a named battery's steps, restarts and queries; below 1 for a first look."""
    out: Path | None = None
    """Folder for report.json, arrays.npz, curves and index.html."""
    root: Path = Path("data")
    """Where mnist, cifar10, cifar100 and svhn are."""
    split: str = "test"
    images: int | None = None
    """The first so many images only."""
    pool: int = 1000
    """Training images as starting points for decision-based attacks; 0 starts them from noise."""
    factory: str | None = None
    """What makes the network of a state dict, e.g. mrt.models:MadryCNN. RUNS ITS CODE."""
    trust: bool = False
    """FILE.pt2 comes from somebody you trust: reading it RUNS ITS CODE."""
    allow: tuple[str, ...] = ()
    """Types of your own, module:Class, that a battery file may import, which RUNS THEIR CODE."""
    cascade: bool = True
    """Later attacks on a threat see only what still stands."""
    batch_size: int = 256
    seed: int = 0
    device: str | None = None
    """cpu or cuda; cuda if there is one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the model in the battery's own attacks; every image is judged in float32."""
    compile: bool = False
    """These attacks run the model through torch.compile on a GPU, and their steps through compiled C++ on a CPU."""
    graph: bool = False
    """Replay their steps as CUDA graphs."""
    reuse: bool = False
    """MSD goes back through the winner's own forward pass."""
    progress: bool = True

    def run(self) -> None:
        fast = Fast(self.precision, compile=self.compile, graph=self.graph, reuse=self.reuse)
        data = load_data(check_data(self.data), self.root, self.split)
        data = data if self.images is None else data.take(min(checks.count("images", self.images), len(data)))
        pool = None  # a user's own file has no training part that starting points could come from
        if checks.count("pool", self.pool, low=0) and self.data in ("digits", *SETS):
            pool = load_data(self.data, self.root, "train")
            pool = pool.take(min(self.pool, len(pool)))
        battery: str | Battery = self.battery
        threats = tuple(parse_threat(text) for text in self.threats) or None
        if battery not in batteries.NAMES:
            if not Path(self.battery).is_file():
                names = ", ".join(batteries.NAMES)
                raise ValueError(f"battery must be one of {names}, or a file that is there; got {battery!r}")
            battery = read_battery(self.battery, self.allow)
        elif threats is None:
            raise ValueError(f"--battery {self.battery} needs --threats, say linf=0.2 l2=0.7 l1=2.0")
        options: dict[str, Any] = {
            "cascade": self.cascade,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "fast": fast,
            "progress": self.progress,
        }
        options |= {"threats": threats, "budget": self.budget, "out": self.out}
        # The model comes last: it may take long to load, and everything else may still be a mistyped word.
        model = load_model(self.model, self.factory, self.device, self.trust)
        report = evaluate(model, data, battery, pool=pool, **options)
        if os.environ.get("RANK", "0") != "0":  # of several processes the first speaks
            return
        print(report)
        if self.out is not None:
            print(f"pictures and curves: {self.out / 'index.html'}")


@dataclass
class Compare:
    """Several finished evaluations side by side, with published rows beside them.

    Runs of one method also get a row of means ± standard deviations. Runs whose config.json, in the folder of the
    report or the one above, differ in the seed alone are one method.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    published: tuple[str, ...] = ()
    """Tables of papers: see the list that a wrong name prints. Without it, the table of a report's own battery whose
    radii agree."""
    methods: tuple[str, ...] = ()
    """Methods whose runs no config.json shows to be alike: msd takes the reports in msd-0, msd_seed1, msd/2, ... and
    in folders directly below such."""
    out: Path | None = None
    """An HTML page to write."""

    def run(self) -> None:
        from rich.console import Console  # imported late: mrt's other commands start without it

        from mrt.evaluation.report import page, tables

        checks.several("folders", self.folders, "folders of reports")
        titles = [folder.name or str(folder) for folder in self.folders]
        # a/judged and b/judged are both called judged: then the whole path tells them apart.
        titles = [str(f) if titles.count(t) > 1 else t for f, t in zip(self.folders, titles, strict=True)]
        reports = [(title, Report.load(folder)) for title, folder in zip(titles, self.folders, strict=True)]
        methods, remarks = find_methods(self.folders, reports, self.methods)
        rows = published.lines(self.published, [report for _, report in reports])
        lines = [*tables.table_lines(reports, methods), *rows]
        Console(width=None if sys.stdout.isatty() else 160).print(tables.comparison_table(lines))
        for line in (tables.legend(lines), *remarks, *tables.paired_lines(reports, methods)):
            print(line)
        if self.out is not None:
            text = page.render(reports, rows, methods)
            write_file(self.out, lambda file: file.write(text.encode()))
            print(f"page: {self.out}")
