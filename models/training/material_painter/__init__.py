"""Training of the material painter, its plan network, and its small version."""
