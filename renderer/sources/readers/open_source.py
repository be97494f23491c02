"""Choose the reader for a parsed `--source`."""

from __future__ import annotations

from collections.abc import Callable

from renderer.sources.readers.shot import Capture
from renderer.sources.readers.spec import SourceSpec

FOLDER_FPS, SCREEN_FPS = 1.0, 30.0  # default rates


def check_source(spec: SourceSpec) -> None:
    """Raise InputError if the source needs a package that is not installed."""
    if spec.kind == "screen":
        from renderer.sources.readers.screen import check_mss

        check_mss()


def opener(spec: SourceSpec, fps: float = 0.0) -> Callable[[], Capture]:
    """A function that opens the source on its reading thread. fps: rate of a folder; 0: one per second."""

    def open_it() -> Capture:
        if spec.kind == "webcam":
            from renderer.sources.readers.camera import open_camera

            return open_camera(spec.index)
        if spec.kind == "screen":
            from renderer.sources.readers.screen import ScreenReader

            return ScreenReader(spec.index, spec.region)
        if spec.kind == "folder":
            from renderer.sources.readers.folder import FolderReader

            return FolderReader(spec.target, fps=fps or FOLDER_FPS)
        from renderer.sources.readers.video import VideoReader

        return VideoReader(spec.target, live=spec.live, name=spec.name)

    return open_it


def live_fps(spec: SourceSpec, fps: float) -> float:
    """Largest capture rate of a live source in pictures per second; 0: unlimited."""
    return fps or (SCREEN_FPS if spec.kind == "screen" else 0.0)
