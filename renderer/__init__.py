"""What you see and touch: the window, the paper, the loop. Never imports torch."""

import os

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # a bad image is told by us, in one line
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # standard output belongs to --json
