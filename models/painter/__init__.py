"""The embedded painter: a small rectified flow that runs on any CPU, and on CUDA."""
