"""Pen pressure on X11, from raw events of the X Input extension 2.2 on a separate connection.

Structures and constants follow X11/extensions/XI2.h and XInput2.h; see the XI2 protocol specification at
https://www.x.org/releases/current/doc/inputproto/XI2proto.txt.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import POINTER, Structure, byref, c_char_p, c_double, c_int, c_ubyte, c_uint, c_ulong, c_void_p

GENERIC_EVENT = 35
ALL_DEVICES, ALL_MASTER_DEVICES = 0, 1
VALUATOR_CLASS = 2
HIERARCHY_CHANGED, RAW_BUTTON_PRESS, RAW_MOTION, RAW_TOUCH_BEGIN, RAW_TOUCH_UPDATE = 11, 15, 17, 22, 23
LABELS = (b"Abs Pressure", b"Abs MT Pressure")


class ValuatorState(Structure):
    _fields_ = (("mask_len", c_int), ("mask", POINTER(c_ubyte)), ("values", POINTER(c_double)))


class AnyClass(Structure):
    _fields_ = (("type", c_int), ("sourceid", c_int))


class ValuatorClass(Structure):
    _fields_ = (
        ("type", c_int),
        ("sourceid", c_int),
        ("number", c_int),
        ("label", c_ulong),
        ("min", c_double),
        ("max", c_double),
        ("value", c_double),
        ("resolution", c_int),
        ("mode", c_int),
    )


class DeviceInfo(Structure):
    _fields_ = (
        ("deviceid", c_int),
        ("name", c_char_p),
        ("use", c_int),
        ("attachment", c_int),
        ("enabled", c_int),
        ("num_classes", c_int),
        ("classes", POINTER(POINTER(AnyClass))),
    )


class EventMask(Structure):
    _fields_ = (("deviceid", c_int), ("mask_len", c_int), ("mask", POINTER(c_ubyte)))


class Cookie(Structure):
    _fields_ = (
        ("type", c_int),
        ("serial", c_ulong),
        ("send_event", c_int),
        ("display", c_void_p),
        ("extension", c_int),
        ("evtype", c_int),
        ("cookie", c_uint),
        ("data", c_void_p),
    )


class AnyEvent(ctypes.Union):
    _fields_ = (("cookie", Cookie), ("pad", c_ulong * 24))


class RawEvent(Structure):
    _fields_ = (
        ("type", c_int),
        ("serial", c_ulong),
        ("send_event", c_int),
        ("display", c_void_p),
        ("extension", c_int),
        ("evtype", c_int),
        ("time", c_ulong),
        ("deviceid", c_int),
        ("sourceid", c_int),
        ("detail", c_int),
        ("flags", c_int),
        ("valuators", ValuatorState),
        ("raw_values", POINTER(c_double)),
    )


class Axis:
    """The pressure axis of a device: its valuator number and its range."""

    def __init__(self, info: ValuatorClass):
        self.number, self.low, self.range = info.number, info.min, (info.max - info.min) or 1.0

    def pressure(self, event: RawEvent) -> float | None:
        """Pressure in 0..1 of an event; None if the event does not contain it."""
        state, number = event.valuators, self.number
        if number >= state.mask_len * 8 or not state.mask[number // 8] & 1 << number % 8:
            return None  # the pressure did not change
        place = sum(bool(state.mask[i // 8] & 1 << i % 8) for i in range(number))
        return min(1.0, max(0.0, (event.raw_values[place] - self.low) / self.range))


class X11Tablet:
    """Tablet on X11. Raises OSError without X Input 2.2. Devices may be connected and removed later."""

    def __init__(self) -> None:
        self._x, self._xi = load("X11"), load("Xi")
        self._x.XOpenDisplay.restype = c_void_p
        self._x.XDefaultRootWindow.restype = c_ulong
        self._x.XInternAtom.restype = c_ulong
        self._xi.XIQueryDevice.restype = POINTER(DeviceInfo)
        self._display = c_void_p(self._x.XOpenDisplay(None))
        if not self._display:
            raise OSError("no X display")
        self._opcode, event, error = c_int(), c_int(), c_int()
        major, minor = c_int(2), c_int(2)
        known = self._x.XQueryExtension(
            self._display, b"XInputExtension", byref(self._opcode), byref(event), byref(error)
        )
        if not known or self._xi.XIQueryVersion(self._display, byref(major), byref(minor)) != 0:
            self.close()
            raise OSError("no X Input 2.2")
        self._labels = {self._x.XInternAtom(self._display, label, 0) for label in LABELS}
        self._axes = self.find_axes()
        self.select(ALL_MASTER_DEVICES, RAW_BUTTON_PRESS, RAW_MOTION, RAW_TOUCH_BEGIN, RAW_TOUCH_UPDATE)
        self.select(ALL_DEVICES, HIERARCHY_CHANGED)
        self._x.XFlush(self._display)

    def select(self, device: int, *events: int) -> None:
        mask = (c_ubyte * 4)()
        for number in events:
            mask[number // 8] |= 1 << number % 8
        chosen = EventMask(device, len(mask), mask)
        root = c_ulong(self._x.XDefaultRootWindow(self._display))
        self._xi.XISelectEvents(self._display, root, byref(chosen), 1)

    def find_axes(self) -> dict[int, Axis]:
        """Map device id to pressure axis, for all devices that have one."""
        count = c_int()
        devices = self._xi.XIQueryDevice(self._display, ALL_DEVICES, byref(count))
        found = {}
        for device in (devices[i] for i in range(count.value)):
            for one in (device.classes[k] for k in range(device.num_classes)):
                if one.contents.type != VALUATOR_CLASS:
                    continue
                info = ctypes.cast(one, POINTER(ValuatorClass)).contents
                if info.label in self._labels:
                    found[device.deviceid] = Axis(info)
        self._xi.XIFreeDeviceInfo(devices)
        return found

    @property
    def devices(self) -> int:
        """Number of devices that report pressure."""
        return len(self._axes)

    def pressures(self) -> list[float]:
        """See Tablet."""
        made: list[float] = []
        if not self._display:
            return made
        event = AnyEvent()
        while self._x.XPending(self._display):
            self._x.XNextEvent(self._display, byref(event))
            cookie = event.cookie
            if cookie.type != GENERIC_EVENT or cookie.extension != self._opcode.value:
                continue
            if cookie.evtype == HIERARCHY_CHANGED:
                self._axes = self.find_axes()
            elif self._axes and self._x.XGetEventData(self._display, byref(cookie)):
                raw = ctypes.cast(cookie.data, POINTER(RawEvent)).contents
                axis = self._axes.get(raw.sourceid) or self._axes.get(raw.deviceid)
                pressure = axis.pressure(raw) if axis is not None else None
                made += [] if pressure is None else [pressure]
                self._x.XFreeEventData(self._display, byref(cookie))
        return made

    def close(self) -> None:
        """See Tablet."""
        if self._display:
            self._x.XCloseDisplay(self._display)
            self._display = c_void_p()


def load(name: str) -> ctypes.CDLL:
    found = ctypes.util.find_library(name)
    if found is None:
        raise OSError(f"lib{name} is not installed")
    return ctypes.CDLL(found)
