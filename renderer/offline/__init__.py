"""Rendering stroke logs again without a window."""
