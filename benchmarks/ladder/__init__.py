"""The rungs of `benchmarks.gpu_ladder`, and what climbs them."""
