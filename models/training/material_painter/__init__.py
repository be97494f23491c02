"""Training of the painter that sees materials, its plan network, and its small version."""
