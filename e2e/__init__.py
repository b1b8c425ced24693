"""Whole nodes: the lab that the demo, the tests and the benchmarks share."""
