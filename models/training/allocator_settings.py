"""Allocator settings for training: freed tensor memory is reused instead of returned to the system.

On Linux glibc returns large blocks to the system when they are freed, and the next tensor's pages are zeroed
anew. Without that a training step is several times as fast. glibc reads these settings when a program starts.
"""

from __future__ import annotations

import os
import sys

SETTINGS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def missing_settings() -> dict[str, str]:
    """The settings that this process was started without; none where they have no effect."""
    if not sys.platform.startswith("linux"):
        return {}
    return {name: value for name, value in SETTINGS.items() if name not in os.environ}


def restart_with_settings() -> None:
    """Start this program again in its own place with the settings, unless it has them. Returns if it has."""
    missing = missing_settings()
    if missing and sys.orig_argv:
        os.environ.update(missing)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
