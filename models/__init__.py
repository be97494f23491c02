"""Models that turn a sketch into a picture: pixels in, pixels out. Never imports pygame."""
