"""Pixels in, pixels out: every model that turns a sketch into a picture. Never imports pygame."""
