"""Fused ops, one file each with kernel, launcher, cost and dispatching function."""
