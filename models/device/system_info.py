"""Name of the processor, and free memory of this machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

MEMORY = Path("/proc/meminfo")  # Linux only


def free_memory_mb() -> int | None:
    """Available memory in MB, including reclaimable caches; None where the system does not report it."""
    try:
        lines = MEMORY.read_text(encoding="ascii").splitlines()
        kb = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        return kb * 1024 // 1_000_000
    except (OSError, ValueError, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
    except (AttributeError, OSError, ValueError):
        return None


def processor() -> str:
    """The processor's name as the system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
