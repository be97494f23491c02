"""Brush dabs, symmetry, selections and flood fill."""
