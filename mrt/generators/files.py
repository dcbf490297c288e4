"""Generators on disk."""

from __future__ import annotations

from typing import Any

import torch

from mrt import checks
from mrt.generators.advgan import AdvGAN
from mrt.generators.gap import GAP
from mrt.generators.generator import Generator
from mrt.generators.l2l_da import L2LGenerator
from mrt.generators.mng import MNGNoise
from mrt.generators.pgn import PGNGenerator

KINDS: dict[str, type[Generator]] = {k.__name__: k for k in (AdvGAN, GAP, L2LGenerator, MNGNoise, PGNGenerator)}


def save_generator(generator: Generator, file: Any) -> None:
    """Its type, settings and weights, for `load_generator`; file is a path or an open one."""
    if not isinstance(generator, Generator):
        raise ValueError(f"generator must be one of mrt.generators; got {generator!r}")
    held = {"mrt_generator": type(generator).__name__, "settings": generator.settings}
    torch.save({**held, "weights": generator.state_dict()}, file)


def load_generator(file: Any) -> Generator:
    """A generator from a file of `save_generator`, or generator.pt of `mrt train`; pickled code is refused."""
    held = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(held, dict) or "mrt_generator" not in held:
        raise ValueError(f"{file} holds no generator; save_generator writes such files")
    kind = KINDS[checks.choice("generator", held["mrt_generator"], tuple(KINDS))]
    generator: Generator = kind(**held["settings"])
    generator.load_state_dict(held["weights"])
    return generator.eval()
