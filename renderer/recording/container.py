"""Video files that stay playable when the program is killed: at most half a second is lost."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import av
import av.error

from renderer.actions import InputError
from renderer.recording.encoder import MILLISECOND, Packet

FLUSH_MS = 50  # longest time that encoded pictures stay in memory
CONTAINERS = {
    ".mkv": ("matroska", {"cluster_time_limit": str(FLUSH_MS)}),
    ".mp4": (
        "mp4",
        {"movflags": "empty_moov+default_base_moof+frag_keyframe", "frag_duration": str(FLUSH_MS * 1000)},
    ),
}


class VideoFile:
    """Matroska with small clusters or MP4 with small fragments; a truncated file still plays."""

    def __init__(self, path: Path, like: av.VideoStream, *, comment: str = "", exact: bool = False):
        """like: the stream that encodes the packets. comment: metadata. exact: deterministic output, without
        the random track and segment numbers of Matroska.

        Raises InputError if the file cannot be written.
        """
        self.path, self._exact, self._closed = path, exact, False
        kind, options = CONTAINERS[path.suffix.lower()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            options = {**options, "flush_packets": "1", **({"fflags": "bitexact"} if exact else {})}
            self._file = av.open(str(path), "w", format=kind, options=options)
            self._stream = self._file.add_stream_from_template(like)
            self._stream.time_base = MILLISECOND
            if comment:
                self._file.metadata["comment"] = comment
        except (OSError, av.error.FFmpegError) as error:  # only some of PyAV's errors are OSErrors
            raise InputError(f"{path} cannot be written: {error.strerror}") from error
        self._begin_ms: int | None = None
        self.ms = 0  # time of the newest picture since the first one

    def add(self, packet: Packet) -> None:
        """Write one packet; those before the first key frame are skipped. Raises OSError or FFmpegError."""
        if self._begin_ms is None:
            if not packet.key:
                return
            self._begin_ms = packet.ms
        self.copy(packet.data, packet.ms - self._begin_ms, packet.key)

    def copy(self, data: bytes, ms: int, key: bool) -> None:
        """Write one encoded picture, shown `ms` after the beginning of the file. Raises like `add`."""
        self.ms = ms
        out = av.Packet(data)
        out.pts = out.dts = ms
        out.time_base, out.is_keyframe, out.stream = MILLISECOND, key, self._stream
        self._file.mux(out)

    def finish(self) -> None:
        """Write the index; an MP4 is rewritten unfragmented with the index in front. Raises like `add`."""
        closed, self._closed = self._closed, True
        self._file.close()
        if not closed and self.path.suffix.lower() == ".mp4":
            with contextlib.suppress(OSError, av.error.FFmpegError):  # the fragmented file plays, too
                index_first(self.path, exact=self._exact)

    def close(self) -> None:
        """Like `finish`, but on an error the file stays without an index; it still plays. Idempotent."""
        with contextlib.suppress(Exception):
            self.finish()


def index_first(path: Path, *, exact: bool = False) -> None:
    """Rewrite a fragmented MP4 with duration and index in front of the pictures ("fast start").

    Web players need this to show the duration and to seek. Packets are copied unchanged. The old file is
    replaced only when the new one is complete. Raises OSError.
    """
    temporary = path.with_name("." + path.name + ".part")
    options = {"movflags": "faststart", **({"fflags": "bitexact"} if exact else {})}
    try:
        with (
            av.open(str(path)) as fragments,
            av.open(str(temporary), "w", format="mp4", options=options) as whole,
        ):
            whole.metadata.update(fragments.metadata)
            streams = {one.index: whole.add_stream_from_template(one) for one in fragments.streams}
            for packet in fragments.demux():
                if packet.size:
                    packet.stream = streams[packet.stream.index]
                    whole.mux(packet)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
