"""A report: results that can be saved, loaded and printed."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from mrt.evaluation.report import charts, page, tables
from mrt.evaluation.report.results import Results, Samples
from mrt.records import write_file


@dataclass(eq=False)
class Report(Results):
    """The results of an evaluation, which `save` writes to a folder and `load` reads back; `print` shows a table."""

    def save(self, folder: Path | str) -> None:
        """arrays.npz, curves as SVG, index.html, and last report.json."""
        folder = Path(folder)
        write_file(folder / "arrays.npz", lambda file: np.savez_compressed(file, **self._arrays()))
        for name, chart in charts.curves([self]).items():
            write_file(folder / f"curve-{name}.svg", lambda file, c=chart: file.write(c.encode()))  # type: ignore[misc]
        write_file(folder / "index.html", lambda file: file.write(page.render([(folder.name, self)]).encode()))
        text = json.dumps(self.summary(), indent=1, allow_nan=False)
        write_file(folder / "report.json", lambda file: file.write(f"{text}\n".encode()))

    @staticmethod
    def load(folder: Path | str | None) -> Report:
        """The report that `save` wrote."""
        path = Path(folder or ".")
        for name in ("report.json", "arrays.npz"):
            if not (path / name).is_file():
                raise ValueError(f"{path} holds no finished report: {name} is missing")
        try:
            held = json.loads((path / "report.json").read_text("utf-8"))
            with open(path / "arrays.npz", "rb") as whole, np.load(whole, allow_pickle=False) as file:
                arrays = {key: torch.from_numpy(file[key]) for key in file.files}
            report = Report(arrays["correct"], arrays["worst"], held["info"], warnings=held["warnings"])
            for label in held["columns"]:
                report.columns[label] = held["columns"][label]
                report.masks[label], report.ran[label] = arrays[f"mask/{label}"], arrays[f"ran/{label}"]
                if f"distance/{label}" in arrays:
                    report.distances[label] = arrays[f"distance/{label}"]
                names = Samples.__dataclass_fields__
                report.samples[label] = Samples(**{name: arrays[f"sample/{label}/{name}"] for name in names})
        except (KeyError, OSError, ValueError, TypeError, BadZipFile) as error:
            raise ValueError(f"{path} holds a damaged report: {error}") from error
        return report

    def _arrays(self) -> dict[str, Any]:
        arrays = {"correct": self.correct, "robust": self.robust, "worst": self.worst}
        arrays |= {f"mask/{k}": v for k, v in self.masks.items()} | {f"ran/{k}": v for k, v in self.ran.items()}
        arrays |= {f"distance/{k}": v for k, v in self.distances.items()}
        arrays |= {f"sample/{k}/{name}": getattr(v, name) for k, v in self.samples.items() for name in vars(v)}
        return {name: value.numpy() for name, value in arrays.items()}

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        text.write(f"{tables.headline(self)}\n")
        Console(file=text, width=min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)).print(
            tables.report_table(self)
        )
        text.writelines(f"{line}\n" for line in tables.rho_lines(self))
        return text.getvalue().rstrip() + "".join(f"\nwarning: {w}" for w in self.warnings)
