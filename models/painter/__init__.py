"""The embedded painter: a small rectified-flow model that runs on any CPU and on CUDA."""
