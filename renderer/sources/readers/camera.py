"""Open a camera by index: V4L2 on Linux and AVFoundation on macOS via PyAV, OpenCV on Windows."""

from __future__ import annotations

import errno
import glob
import sys
import time

import cv2
import numpy as np

from renderer.sources.readers.shot import Capture, Shot, SourceLost
from renderer.sources.readers.video import VideoReader

WANTED_SIZE, WANTED_HZ = (1280, 720), 30  # requested mode; the camera may choose another


def open_camera(index: int) -> Capture:
    """Open a camera. Raises SourceLost with one line if it does not exist, is in use, or access is denied."""
    name = f"camera {index}"
    if sys.platform == "win32":  # DirectShow uses names, Media Foundation numbers
        return OpenCvCamera(index)
    if sys.platform == "darwin":
        options = {"framerate": str(WANTED_HZ), "video_size": f"{WANTED_SIZE[0]}x{WANTED_SIZE[1]}"}
        try:
            return VideoReader(str(index), live=True, name=name, format="avfoundation", options=options)
        except SourceLost as error:
            raise SourceLost(f"{error}; is it plugged in, free, and allowed in Privacy settings?") from error
    try:
        return VideoReader(f"/dev/video{index}", live=True, name=name, format="v4l2")
    except SourceLost as error:
        raise SourceLost(explain(index, error)) from error


def explain(index: int, error: SourceLost) -> str:
    """Error message for a V4L2 camera that could not be opened."""
    number = getattr(error.__cause__, "errno", None)
    if number == errno.EBUSY:
        return f"camera {index} is in use by another program; close that one, or choose another with webcam:N"
    if number == errno.EACCES:
        return f"camera {index} may not be opened by this user; add the user to the group `video`"
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        found = sorted(glob.glob("/dev/video*"))
        there = f"there are {', '.join(found)}" if found else "no camera is plugged in"
        return f"there is no camera {index}: {there}"
    if number == errno.ENOTTY:
        return f"/dev/video{index} is no camera that takes pictures; choose another with webcam:N"
    return str(error)


class OpenCvCamera:
    """A camera opened with OpenCV, for Windows; not tested there."""

    def __init__(self, index: int):
        self.name = f"camera {index}"
        self._camera = cv2.VideoCapture(index, cv2.CAP_MSMF)
        self._camera.set(cv2.CAP_PROP_FRAME_WIDTH, WANTED_SIZE[0])
        self._camera.set(cv2.CAP_PROP_FRAME_HEIGHT, WANTED_SIZE[1])
        if not self._camera.isOpened():
            raise SourceLost(f"{self.name} cannot be opened: it is not there, or in use by another program")
        self._began_s = time.perf_counter()

    def read(self) -> Shot | None:
        there, bgr = self._camera.read()
        captured_s = time.perf_counter()
        if not there:
            raise SourceLost(f"{self.name} gives no more pictures")
        size = (bgr.shape[1], bgr.shape[0])
        return Shot(size, captured_s, captured_s - self._began_s, lambda w, h: shrunk(bgr, w, h))

    def seek(self, media_s: float) -> None:
        """Do nothing: a camera cannot seek."""

    def close(self) -> None:
        self._camera.release()


def shrunk(bgr: np.ndarray, width: int, height: int) -> np.ndarray:
    """Convert and resize (H, W, 3) BGR to (height, width, 3) RGB."""
    if bgr.shape[:2] != (height, width):
        bgr = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
