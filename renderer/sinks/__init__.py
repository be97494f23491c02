"""Where the picture goes besides the window: network stream, virtual camera, projector."""
