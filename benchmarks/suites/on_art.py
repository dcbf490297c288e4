"""A plugin of pytest for ART's own tests, with OURS=1 on our classes: wherever a module of ART names one of its classes
of which `mrt_art` has one of the same name, it names ours."""

from __future__ import annotations

import os
import sys

import art.attacks.evasion
import art.attacks.evasion.auto_attack
import art.defences.trainer
import torch
import torch._dynamo  # before TensorFlow, which ART's tests import: the other order ends in a segmentation fault

torch.set_num_threads(1)

if os.environ.get("OURS") == "1":
    import mrt_art

    for package in (art.attacks.evasion, art.defences.trainer):
        for name in sorted(set(mrt_art.__all__) & set(vars(package))):
            theirs = getattr(package, name)
            for module in [m for n, m in sys.modules.items() if n.startswith(("art.attacks", "art.defences"))]:
                if vars(module).get(name) is theirs:
                    setattr(module, name, getattr(mrt_art, name))
