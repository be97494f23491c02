"""The machine that a model runs on: precision, allocator, threads, CUDA graphs, system information."""
