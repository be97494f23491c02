"""Training of the color painter: the shipped weights, and the contenders of the lab."""
