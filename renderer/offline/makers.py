"""Which kinds of device made the segments of a replay on a cluster, kept beside them on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

NAME = "makers.json"
Makers = list[tuple[dict[str, str], list[int]]]  # identities, and the first frames of what each made


def added(makers: Makers, identity: dict[str, str], first: int) -> Makers:
    for known, firsts in makers:
        if known == identity:
            firsts.append(first)
            return makers
    return [*makers, (identity, [first])]


def read(folder: Path) -> Makers:
    """Who made the segments that are there; empty where none are."""
    try:
        return [(dict(who), list(firsts)) for who, firsts in json.loads((folder / NAME).read_text())]
    except (OSError, ValueError):
        return []


def write(folder: Path, makers: Makers) -> None:
    temporary = folder / f".{NAME}"
    temporary.write_text(json.dumps(makers), encoding="utf-8")
    os.replace(temporary, folder / NAME)


def mixture(folder: Path) -> str:
    """What a film's metadata says of segments that different kinds of device made; empty if all are alike."""
    makers = read(folder)
    if len(makers) < 2:
        return ""
    return json.dumps([{**who, "segments from frame": sorted(firsts)} for who, firsts in makers])
