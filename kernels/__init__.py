"""Fused operations with one signature each: plain torch everywhere. Imports torch; never triton at import.

Another package of this import name exists, which `transformers` probes for by its version: this one has none.
"""
