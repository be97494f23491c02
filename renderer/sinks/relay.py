"""Relay process: sends a Matroska stream from standard input to a URL with FFmpeg.

PyAV holds the GIL while it opens an output, so an RTMP server that does not answer would freeze the window.
This process may block. Imports only PyAV.
"""

from __future__ import annotations

import sys

import av


def relay(url: str, kind: str) -> None:
    """Copy all packets. kind: container format of the output."""
    header_only = {"probesize": "32", "analyzeduration": "0"}  # the header is sufficient
    with av.open(sys.stdin.buffer, "r", format="matroska", options=header_only, buffer_size=4096) as source:
        video = source.streams.video[0]
        with av.open(url, "w", format=kind, container_options={"flush_packets": "1"}) as output:
            stream = output.add_stream_from_template(video)
            for packet in source.demux(video):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)


if __name__ == "__main__":
    try:
        relay(sys.argv[1], sys.argv[2])
    except Exception as error:
        print(getattr(error, "strerror", None) or str(error) or type(error).__name__, file=sys.stderr)
        sys.exit(1)
