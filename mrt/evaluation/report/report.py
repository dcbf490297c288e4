"""A report: results that can be saved, loaded and printed."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrt.checks import first_line, printable
from mrt.evaluation.report import charts, page, tables
from mrt.evaluation.report.results import Results, Samples
from mrt.files import read_arrays, read_json
from mrt.records import fingerprint, write_file

REMEDY = "evaluate again, into a new folder"


@dataclass(eq=False)
class Report(Results):
    """The results of an evaluation, which `save` writes to a folder and `load` reads back; `print` shows a table."""

    def save(self, folder: Path | str) -> None:
        """Write the report into a folder: arrays.npz, curves as SVG, index.html, and last report.json."""
        # In this order, since who finds report.json takes the folder for a finished report's.
        folder = Path(folder)
        arrays, summary = self._arrays(), self.summary()
        plain: dict[str, Any] = {name: array.numpy() for name, array in arrays.items()}
        write_file(folder / "arrays.npz", lambda file: np.savez_compressed(file, **plain))
        for name, chart in charts.curves([self]).items():
            write_file(folder / f"curve-{name}.svg", lambda file, c=chart: file.write(c.encode()))  # type: ignore[misc]
        write_file(folder / "index.html", lambda file: file.write(page.render([(folder.name, self)]).encode()))
        text = json.dumps({**summary, "digest": _digest(summary, arrays)}, indent=1, allow_nan=False)
        write_file(folder / "report.json", lambda file: file.write(f"{text}\n".encode()))

    @staticmethod
    def load(folder: Path | str | None) -> Report:
        """The report that `save` wrote there; ValueError if there is none, or a damaged one."""
        path = Path(folder or ".")
        for name in ("report.json", "arrays.npz"):
            if not (path / name).is_file():
                raise ValueError(f"{path} holds no finished report: {name} is missing")
        summary, stored = read_json(path / "report.json", REMEDY), read_arrays(path / "arrays.npz", REMEDY)
        if not isinstance(summary, dict) or "digest" not in summary:
            raise ValueError(f"{path} holds a report of an earlier version of mrt: {REMEDY}")
        try:
            arrays = {name: torch.from_numpy(array) for name, array in stored.items()}
            if summary.pop("digest") != _digest(summary, arrays):
                raise ValueError("it was changed since it was written")
            # All other numbers of the summary follow from the arrays, and are computed again rather than believed.
            report = Report(arrays["correct"], arrays["worst"], summary["info"], warnings=summary["warnings"])
            for label, column in summary["columns"].items():
                if "/" in column:  # of which `save` makes names of files
                    raise ValueError(f"{column!r} is no name of a threat")
                report.columns[label] = column
                report.masks[label], report.ran[label] = arrays[f"mask/{label}"], arrays[f"ran/{label}"]
                if f"distance/{label}" in arrays:
                    report.distances[label] = arrays[f"distance/{label}"]
                names = Samples.__dataclass_fields__
                report.samples[label] = Samples(**{name: arrays[f"sample/{label}/{name}"] for name in names})
            report.check_arrays()
            report.summary(), str(report)  # whatever else is missing is missed there
        except Exception as error:  # a digest tells what was changed by chance, and not what a report should hold
            raise ValueError(f"{path} holds a damaged report ({first_line(error)[:200]}): {REMEDY}") from error
        return report

    def check_arrays(self) -> None:
        """ValueError unless the results are of the kinds and lengths that an evaluation gives them."""
        n, remarks = len(self.correct) if self.correct.ndim else 0, self.warnings
        if (
            not n
            or self.worst.ndim != 4
            or not isinstance(remarks, list)
            or not all(isinstance(w, str) for w in remarks)
        ):
            raise ValueError("it has no images, or its warnings are no texts")
        per_image = {"correct": self.correct, **{f"mask/{k}": v for k, v in self.masks.items()}}
        per_image |= {f"ran/{k}": v for k, v in self.ran.items()}
        wrong = [name for name, v in per_image.items() if v.dtype != torch.bool or v.shape != (n,)]
        wrong += [name for name, v in self.distances.items() if v.shape != (n,) or not v.is_floating_point()]
        if wrong or len(self.worst) != n:
            raise ValueError(f"{', '.join(wrong) or 'worst'} has another length or type than {n} images ask for")

    def _arrays(self) -> dict[str, torch.Tensor]:
        """What arrays.npz holds: every per-example result, under a name such as mask/apgd-ce-l1."""
        arrays = {"correct": self.correct, "robust": self.robust, "worst": self.worst}
        arrays |= {f"mask/{label}": mask for label, mask in self.masks.items()}
        arrays |= {f"ran/{label}": attacked for label, attacked in self.ran.items()}
        arrays |= {f"distance/{label}": distances for label, distances in self.distances.items()}
        for label, samples in self.samples.items():
            arrays |= {f"sample/{label}/{name}": value for name, value in vars(samples).items()}
        return arrays

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        text.write(f"{tables.headline(self)}\n")
        # At least 80 columns, however narrow the window is: rich cuts off what does not fit.
        width = min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)
        Console(file=text, width=width).print(tables.report_table(self))
        text.writelines(f"{line}\n" for line in tables.rho_lines(self))
        lines = [*text.getvalue().rstrip().splitlines(), *(f"warning: {w}" for w in self.warnings)]
        return "\n".join(map(printable, lines))  # names and warnings may come from a file of somebody else's


def _digest(summary: dict[str, Any], arrays: dict[str, torch.Tensor]) -> str:
    """What tells these results from any others, a flipped bit included."""
    return fingerprint(json.dumps(summary), *arrays, *arrays.values())
