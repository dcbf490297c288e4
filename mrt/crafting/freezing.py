"""A model is held still while it is attacked. Several attacks may hold one module at once, one within another or in
several threads: its settings are those of whoever came last, and who leaves last restores what was found first."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Setting = tuple[Any, str, bool]  # a module or parameter, its attribute, the value that it is to have


@dataclass
class _Held:
    """One attribute: what it was, and what each block that is still open wants, in the order in which they came."""

    owner: Any
    name: str
    found: bool
    wanted: dict[object, tuple[int, bool]] = field(default_factory=dict)  # by block: (thread, value)

    def demand(self, block: object, value: bool) -> None:
        thread = threading.get_ident()
        if any(other != thread and theirs != value for other, theirs in self.wanted.values()):
            raise ValueError(
                "another thread attacks this model and has BatchNorm in another mode (bn=): "
                "give each thread a copy of the model"
            )
        self.wanted[block] = thread, value
        setattr(self.owner, self.name, value)

    def release(self, block: object) -> bool:
        """Return whether nobody holds it any more."""
        if self.wanted.pop(block, None) is not None:
            last = next(reversed(self.wanted.values()), None)
            setattr(self.owner, self.name, self.found if last is None else last[1])
        return not self.wanted


_held: dict[tuple[int, str], _Held] = {}  # by id, which cannot change hands while its owner stands here
_lock = threading.Lock()


@contextmanager
def held_still(settings: Sequence[Setting]) -> Iterator[None]:
    """Give these attributes these values until the block ends, however it ends."""
    block, mine = object(), list[tuple[tuple[int, str], _Held]]()
    try:
        with _lock:
            for owner, name, value in settings:
                key = id(owner), name
                if key not in _held:
                    _held[key] = _Held(owner, name, getattr(owner, name))
                mine.append((key, _held[key]))
                _held[key].demand(block, value)
        yield
    finally:
        with _lock:
            for key, held in mine:
                if held.release(block):
                    _held.pop(key, None)
