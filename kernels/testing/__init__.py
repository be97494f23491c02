"""Shared by the tests and benchmarks of the ops: inputs, cases, shapes and float64 results."""
