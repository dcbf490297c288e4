"""One import for a script: an adapter that has every name of its host, ours where we have one, else the host's own."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mrt.hosts.hosted import suggest


@dataclass(frozen=True)
class OneImport:
    """The names of an adapter, whose `__all__` are ours, and of the host's modules, of which the first comes first."""

    package: str
    hosts: tuple[ModuleType, ...]

    def find(self, name: str) -> Any:
        """What the host has under that name. AttributeError, with similar names, where it has none either."""
        # Python asks every module for names such as __path__ and __wrapped__; the host's would be about the host.
        for host in () if name.startswith("__") else self.hosts:
            if hasattr(host, name):
                return getattr(host, name)
        places = " nor ".join([self.package, *(host.__name__ for host in self.hosts)])
        raise AttributeError(f"neither {places} has {name!r}: {suggest(name, self.names())}")

    @property
    def ours(self) -> list[str]:
        return list(sys.modules[self.package].__all__)

    def of_hosts(self) -> list[str]:
        """The public names that are the host's own."""
        names = {name for host in self.hosts for name, value in vars(host).items() if not inspect.ismodule(value)}
        return sorted(name for name in names if not name.startswith("_") and name not in self.ours)

    def names(self) -> list[str]:
        """What `dir` shows of the adapter."""
        return sorted({*vars(sys.modules[self.package]), *self.of_hosts()})

    def table(self) -> str:
        """A line for each name: whose it is, and the first sentence that is said of it."""
        package, ours = sys.modules[self.package], self.ours
        names = sorted([*ours, *self.of_hosts()])
        width, lines = max(map(len, names)), list[str]()
        for name in names:
            whose = "mrt" if name in ours else "host"
            lines.append(f"{name:<{width}}  {whose:<4}  {_first_sentence(getattr(package, name))}".rstrip())
        return "\n".join([*lines, f"{len(ours)} names are ours (mrt), {len(names) - len(ours)} are the host's own."])


def _first_sentence(value: Any) -> str:
    """Of its own docstring, on one line and not too long; nothing of what is no class and no function."""
    # A class without one would otherwise be described by what it inherits, from Python's ABC say.
    said = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__ if inspect.isfunction(value) else ""
    words = re.sub(r" ?\[#?[\w-]+\]_", "", inspect.cleandoc(said or ""))  # without references to papers
    sentence = " ".join(words.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
    return sentence if len(sentence) <= 80 else f"{sentence[:77].rstrip()}..."
