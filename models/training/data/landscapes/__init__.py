"""Procedural landscapes: terrain, light, sky, and the renderer of a view with its labels."""
