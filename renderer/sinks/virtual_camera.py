"""Virtual camera: provides the picture to other programs as a webcam, with pyvirtualcam."""

from __future__ import annotations

import threading
import time

import numpy as np

from renderer.actions import InputError

FPS = 30.0  # programs expect a steady rate of frames, changed or not
CLOSE_S = 2.0
MISSING = "there is no virtual camera without pyvirtualcam; install it with: pip install flowbrush[live]"


class VirtualCamera:
    """Sends the newest picture at a constant rate, on its own thread.

    device: name of the open device. problem: one line on why it failed. sent: number of frames.
    """

    def __init__(self, *, backend: str | None = None):
        """backend: of pyvirtualcam; None for the system's default. Raises InputError if pyvirtualcam is not
        installed."""
        try:
            import pyvirtualcam  # noqa: F401
        except ImportError as error:
            raise InputError(MISSING) from error
        self.device = self.problem = ""
        self.sent = 0
        self._backend = backend
        self._picture: np.ndarray | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def offer(self, picture: np.ndarray) -> None:
        """Send this picture from now on: (H, W, 3) uint8 RGB, which must not be modified afterwards."""
        with self._lock:
            self._picture = picture
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._run, name="virtual camera", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread and close the camera. Idempotent."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def words(self) -> str:
        """One line for the HUD."""
        return self.problem or (f"camera on {self.device}" if self.device else "the virtual camera opens")

    def _newest(self) -> np.ndarray:
        with self._lock:
            assert self._picture is not None, "the thread starts with the first picture"
            return self._picture

    def _run(self) -> None:
        import pyvirtualcam

        height, width = self._newest().shape[:2]
        try:
            camera = pyvirtualcam.Camera(width, height, FPS, backend=self._backend)
        except Exception as error:  # each backend has its own errors
            self.problem = explain(error)
            return
        self.device = camera.device
        due_s = time.perf_counter()
        try:
            while not self._closing.is_set():
                camera.send(self._newest())
                self.sent += 1
                due_s = max(due_s + 1 / FPS, time.perf_counter() - 1 / FPS)
                self._closing.wait(max(0.0, due_s - time.perf_counter()))
        except Exception as error:
            self.device, self.problem = "", f"the virtual camera stopped: {first_line(error)}"
        finally:
            camera.close()


def explain(error: Exception) -> str:
    """Error message and advice for a virtual camera that could not be opened."""
    words = first_line(error)
    if "v4l2loopback" in words or "v4l2 loopback" in words:
        return "there is no virtual camera; load the kernel module: sudo modprobe v4l2loopback"
    if "obs" in words.lower():
        return "there is no virtual camera; install OBS Studio and start its virtual camera once"
    return f"there is no virtual camera: {words}"


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
