"""What `mrt.threats` and `mrt.attacks` do to each example between two passes of the model, fused: in Triton for a GPU,
in C++ for a CPU. Nothing here imports the rest of mrt; each kernel names its twin, the plain torch code that it must
equal."""

from mrt.kernels.ops import gather_rows, has_triton, memory_format, pick_rows, step_rows, takes
from mrt.kernels.sizes import KINDS

__all__ = ["KINDS", "gather_rows", "has_triton", "memory_format", "pick_rows", "step_rows", "takes"]
