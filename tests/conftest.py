"""Settings for every test: one thread a process, and properties without a deadline on shared machines."""

from __future__ import annotations

import os

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("here", deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("here"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")
