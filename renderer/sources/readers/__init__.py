"""Read pictures from cameras, video files, network streams, the screen and folders."""
