"""Measuring tools: frame times, counted cost of a frame, comparison with the pipelines of diffusers."""
