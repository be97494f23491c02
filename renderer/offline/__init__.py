"""Offline rendering of stroke logs and videos, without a window."""
