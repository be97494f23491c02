"""Training data: procedural landscapes, sketches of them, and images from a folder."""
