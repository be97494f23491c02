"""The ops, one file each: kernel, launcher, cost and dispatching function."""
