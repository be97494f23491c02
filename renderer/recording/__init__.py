"""Video recording: capture, encoder, container and the last seconds in memory."""
