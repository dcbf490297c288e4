"""Plugins of pytest with which `benchmarks.host_suites` runs the hosts' own tests on our classes."""
