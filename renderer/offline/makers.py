"""Records which kinds of device rendered the segments of a replay on a cluster, in a file next to them."""

from __future__ import annotations

import json
import os
from pathlib import Path

NAME = "makers.json"
Makers = list[tuple[dict[str, str], list[int]]]  # device identity, and first frames of its segments


def added(makers: Makers, identity: dict[str, str], first: int) -> Makers:
    for known, firsts in makers:
        if known == identity:
            firsts.append(first)
            return makers
    return [*makers, (identity, [first])]


def read(folder: Path) -> Makers:
    """Devices of the existing segments; empty without any."""
    try:
        return [(dict(who), list(firsts)) for who, firsts in json.loads((folder / NAME).read_text())]
    except (OSError, ValueError):
        return []


def write(folder: Path, makers: Makers) -> None:
    temporary = folder / f".{NAME}"
    temporary.write_text(json.dumps(makers), encoding="utf-8")
    os.replace(temporary, folder / NAME)


def mixture(folder: Path) -> str:
    """Note for the video's metadata if different kinds of device rendered the segments; else empty."""
    makers = read(folder)
    if len(makers) < 2:
        return ""
    return json.dumps([{**who, "segments from frame": sorted(firsts)} for who, firsts in makers])
