"""Evaluation of trained weights: metrics, sample grids and the report."""
