"""Training of the painter that sees colours only: the shipped weights, and the contenders of the lab."""
