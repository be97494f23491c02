"""User interface: window, canvas and main loop. Never imports torch."""

import os

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # bad images are reported by this program, in one line
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "64000000")  # a small file may claim to be a huge image
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # standard output belongs to --json
