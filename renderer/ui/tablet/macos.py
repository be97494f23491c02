"""Pen pressure on macOS, from the application's current event. Untested: never run on macOS.

See https://developer.apple.com/documentation/appkit/nsevent. Returns one sample per tick, the newest.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import c_char_p, c_float, c_long, c_ulong, c_void_p

DOWN, DRAGGED, TABLET_POINT = 1, 6, 23  # NSEventType: left button, tablet
TABLET_SUBTYPE = 1


class MacTablet:
    """Tablet on macOS. Raises OSError if the Objective-C runtime is not found."""

    def __init__(self) -> None:
        found = ctypes.util.find_library("objc")
        if found is None:
            raise OSError("no Objective-C runtime")
        self._objc = ctypes.CDLL(found)
        self._objc.objc_getClass.restype = self._objc.sel_registerName.restype = c_void_p
        self._objc.objc_getClass.argtypes = self._objc.sel_registerName.argtypes = [c_char_p]
        self._application = self.send(
            self._objc.objc_getClass(b"NSApplication"), b"sharedApplication", c_void_p
        )

    def send(self, target, selector: bytes, kind):
        """Call an Objective-C method without arguments that returns this C type."""
        call = ctypes.CFUNCTYPE(kind, c_void_p, c_void_p)(("objc_msgSend", self._objc))
        return call(target, self._objc.sel_registerName(selector))

    def pressures(self) -> list[float]:
        """See Tablet."""
        event = self.send(self._application, b"currentEvent", c_void_p)
        if not event:
            return []
        kind = self.send(event, b"type", c_ulong)
        mouse = kind in (DOWN, DRAGGED) and self.send(event, b"subtype", c_long) == TABLET_SUBTYPE
        if not mouse and kind != TABLET_POINT:
            return []
        return [min(1.0, max(0.0, self.send(event, b"pressure", c_float)))]

    def close(self) -> None:
        """See Tablet. There is nothing to release."""
