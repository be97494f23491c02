"""Pen pressure on Windows, from the window's pointer messages. Untested: never run on Windows.

See https://learn.microsoft.com/windows/win32/inputmsg/messages-and-notifications-portal.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_size_t, c_ssize_t, c_uint32, c_uint64, c_void_p

import pygame

WM_POINTERUPDATE, WM_POINTERDOWN = 0x0245, 0x0246
PT_PEN = 3
FULL = 1024.0  # pen pressure is 0..1024
SUBCLASS_ID = 0x466C


class PointerInfo(ctypes.Structure):
    _fields_ = (
        ("pointerType", c_uint32),
        ("pointerId", c_uint32),
        ("frameId", c_uint32),
        ("pointerFlags", c_uint32),
        ("sourceDevice", c_void_p),
        ("hwndTarget", c_void_p),
        ("ptPixelLocation", c_int32 * 2),
        ("ptHimetricLocation", c_int32 * 2),
        ("ptPixelLocationRaw", c_int32 * 2),
        ("ptHimetricLocationRaw", c_int32 * 2),
        ("dwTime", c_uint32),
        ("historyCount", c_uint32),
        ("inputData", c_int32),
        ("dwKeyStates", c_uint32),
        ("performanceCount", c_uint64),
        ("buttonChangeType", c_int32),
    )


class PenInfo(ctypes.Structure):
    _fields_ = (
        ("pointerInfo", PointerInfo),
        ("penFlags", c_uint32),
        ("penMask", c_uint32),
        ("pressure", c_uint32),
        ("rotation", c_uint32),
        ("tiltX", c_int32),
        ("tiltY", c_int32),
    )


class WindowsTablet:
    """Tablet that reads pygame's window messages. Raises AttributeError if pointer messages are missing."""

    def __init__(self) -> None:
        windll = ctypes.windll  # type: ignore[attr-defined]  # it exists on Windows only
        self._user, self._controls = windll.user32, windll.comctl32
        self._pen_info = self._user.GetPointerPenInfo
        self._window = c_void_p(pygame.display.get_wm_info()["window"])
        self._made: list[float] = []
        made_by = ctypes.WINFUNCTYPE(  # type: ignore[attr-defined]  # it exists on Windows only
            c_ssize_t, c_void_p, c_uint32, c_size_t, c_ssize_t, c_size_t, c_size_t
        )
        self._controls.DefSubclassProc.restype = c_ssize_t
        self._controls.DefSubclassProc.argtypes = [c_void_p, c_uint32, c_size_t, c_ssize_t]
        self._callback = made_by(self._message)  # referenced, so that it is not garbage-collected
        self._controls.SetWindowSubclass(self._window, self._callback, SUBCLASS_ID, 0)

    def _message(self, window, message, wparam, lparam, _id, _data) -> int:
        if message in (WM_POINTERUPDATE, WM_POINTERDOWN):
            kind, pen = c_uint32(), PenInfo()
            pointer = c_uint32(wparam & 0xFFFF)
            known = self._user.GetPointerType(pointer, ctypes.byref(kind))
            if known and kind.value == PT_PEN and self._pen_info(pointer, ctypes.byref(pen)):
                self._made.append(min(1.0, pen.pressure / FULL))
        return self._controls.DefSubclassProc(window, message, wparam, lparam)

    def pressures(self) -> list[float]:
        """See Tablet. Messages arrive while pygame reads its events."""
        made, self._made = self._made, []
        return made

    def close(self) -> None:
        """See Tablet."""
        if self._window:
            self._controls.RemoveWindowSubclass(self._window, self._callback, SUBCLASS_ID)
            self._window = c_void_p()
