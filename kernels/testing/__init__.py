"""What the tests and benchmarks of the ops share: inputs, cases, shapes and float64 results."""
