"""Outputs besides the window: network stream, virtual camera, projector."""
