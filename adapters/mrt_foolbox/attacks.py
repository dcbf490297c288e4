"""For scripts that say `import foolbox.attacks` or `from foolbox.attacks import *`: the names of `mrt_foolbox`."""

from __future__ import annotations

from typing import Any

import mrt_foolbox
from mrt_foolbox import *  # noqa: F403

__all__ = [*mrt_foolbox.__all__, *mrt_foolbox.NAMES.of_hosts()]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    return getattr(mrt_foolbox, name)


def __dir__() -> list[str]:
    return dir(mrt_foolbox)
