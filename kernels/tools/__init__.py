"""Measuring tools: ahead-of-time compilation, launch counts and a benchmark of the ops."""
