"""Brush dabs, symmetry, selections and flood fill: how an edit chooses its pixels."""
