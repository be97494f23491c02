"""Create live source, outputs and remote control from the options of `paint`."""

from __future__ import annotations

from models.api import Rect
from renderer.cli.live_settings import LivePaint
from renderer.live import LiveParts
from renderer.sources.flatten import checked_flatten
from renderer.sources.geometry import Placement, checked_fit
from renderer.sources.live_source import LayerSettings
from renderer.sources.preparation import Preparation
from renderer.sources.readers.open_source import check_source, live_fps, opener
from renderer.sources.readers.spec import parse_geometry, parse_source
from renderer.sources.source_thread import SourceThread


def live_parts(settings: LivePaint, size: tuple[int, int]) -> LiveParts:
    """Create the live parts for the options. size: (width, height) of the paper. Raises InputError."""
    source = source_of(settings, size)
    layer = LayerSettings(settings.source_over, settings.source_opacity, settings.feedback)
    stream = None
    if settings.stream is not None:
        from renderer.sinks.network_stream import NetworkStream, parse_stream

        stream = NetworkStream(parse_stream(settings.stream))
    if settings.camera:
        open_camera()  # a missing package is reported before the window opens
    display = settings.projector or 0
    osc = None
    if settings.osc is not None:  # created last, since it starts to listen at once
        from renderer.control.addresses import addresses
        from renderer.control.osc import OscServer, parse_osc
        from renderer.ui.input.keymap import KEYS

        osc = OscServer(*parse_osc(settings.osc), addresses((key.name, key.help) for key in KEYS))
    return LiveParts(
        source=source,
        layer=layer,
        stream=stream,
        osc=osc,
        open_camera=open_camera,
        open_projector=lambda: open_projector(display),
        camera=settings.camera,
        projector=settings.projector is not None,
    )


def source_of(settings: LivePaint, size: tuple[int, int]) -> SourceThread | None:
    """Create the source without starting it. Raises InputError."""
    fit = checked_fit(settings.source_fit)
    flatten = checked_flatten(settings.source_flatten)
    crop = parse_geometry(settings.source_crop, "--source-crop") if settings.source_crop else Rect()
    if settings.source is None:
        return None
    spec = parse_source(settings.source)
    check_source(spec)
    placement = Placement(fit, settings.source_mirror, crop)
    return SourceThread(
        spec,
        opener(spec, settings.source_fps),
        size,
        preparation=Preparation(placement, flatten),
        fps=live_fps(spec, settings.source_fps),
        loop=not settings.source_once,
        every_frame=settings.source_every_frame,
    )


def open_camera():
    from renderer.sinks.virtual_camera import VirtualCamera

    return VirtualCamera()


def open_projector(display: int):
    from renderer.sinks.projector import Projector

    return Projector(display)
