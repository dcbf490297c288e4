"""Learned attacks: networks that make perturbations."""

from mrt.generators.advgan import AdvGAN
from mrt.generators.attack import GeneratorAttack, fit_generator
from mrt.generators.files import load_generator, save_generator
from mrt.generators.gap import GAP
from mrt.generators.generator import Generator, Made
from mrt.generators.l2l_da import L2LGenerator, L2LStar
from mrt.generators.mng import MNGNoise
from mrt.generators.pgn import PGNGenerator

__all__ = [
    "GAP", "AdvGAN", "Generator", "GeneratorAttack", "L2LGenerator", "L2LStar", "MNGNoise", "Made", "PGNGenerator",
    "fit_generator", "load_generator", "save_generator",
]  # fmt: skip
