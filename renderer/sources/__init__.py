"""Live sources: camera, video file, network stream, screen, folder of pictures; their thread and layer."""
