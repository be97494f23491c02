"""A process of its own that sends a Matroska stream from its standard input to a URL, through FFmpeg.

PyAV opens an output while it holds Python's interpreter lock: an RTMP server that does not answer would stop
the window. This process may wait. Imports PyAV only.
"""

from __future__ import annotations

import sys

import av


def relay(url: str, kind: str) -> None:
    """Copy every packet. kind: format of the output."""
    header_only = {"probesize": "32", "analyzeduration": "0"}  # it says all that is needed
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
