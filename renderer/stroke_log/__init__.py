"""Stroke logs: written, read, stored and played back."""
