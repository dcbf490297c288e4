"""Generators on disk: their type, settings and weights in one file."""

from __future__ import annotations

from typing import Any

from mrt import checks
from mrt.generators.advgan import AdvGAN
from mrt.generators.gap import GAP
from mrt.generators.generator import Generator
from mrt.generators.l2l_da import L2LGenerator
from mrt.generators.mng import MNGNoise
from mrt.generators.pgn import PGNGenerator
from mrt.records import write_tensors
from mrt.weights import make_for, read_tensors

KINDS: dict[str, type[Generator]] = {k.__name__: k for k in (AdvGAN, GAP, L2LGenerator, MNGNoise, PGNGenerator)}


def save_generator(generator: Generator, file: Any) -> None:
    """Write the generator's type, settings and weights for `load_generator`; file is a path or an open file."""
    if not isinstance(generator, Generator):
        raise ValueError(f"generator must be one of mrt.generators; got {generator!r}")
    content = {"mrt_generator": type(generator).__name__, "settings": generator.settings}
    write_tensors({**content, "weights": generator.state_dict()}, file)


def load_generator(file: Any) -> Generator:
    """Return the generator of a file of `save_generator`, or of generator.pt of `mrt train`, in eval mode."""
    content = read_tensors(file)
    if not isinstance(content, dict) or not {"mrt_generator", "settings", "weights"} <= content.keys():
        raise ValueError(f"{file} holds no generator; save_generator writes such files")
    name = content["mrt_generator"] if isinstance(content["mrt_generator"], str) else None
    kind = KINDS[checks.choice(f"the generator of {file}", name, tuple(KINDS))]
    try:
        generator = make_for(kind, content["settings"], content["weights"])
        generator.load_state_dict(content["weights"])
    except (ValueError, RuntimeError) as error:
        why = checks.first_line(error)
        raise ValueError(f"{file} holds no {kind.__name__} that can be made: {why}") from error
    assert isinstance(generator, Generator)
    return generator.eval()
