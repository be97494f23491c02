"""Distributed work on Ray: replays, training, and a model served to other machines."""
