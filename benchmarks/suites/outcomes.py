"""A plugin of pytest: writes what became of each test to the file that OUTCOMES names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOUND: dict[str, tuple[str, str]] = {}  # by test: passed, failed or skipped, and the last line of why


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" or report.outcome != "passed":
        lines = str(report.longrepr or "").strip().splitlines()
        FOUND[report.nodeid] = (report.outcome, lines[-1] if lines else "")


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        FOUND[report.nodeid] = ("failed", str(report.longrepr).strip().splitlines()[-1])


def pytest_sessionfinish() -> None:
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(FOUND), "utf-8")
