"""Join encoded parts of a video and add the sound of another file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from av.audio.resampler import AudioResampler
from av.container import OutputContainer

from renderer.recording.encoder import MILLISECOND

FORMATS = {".mkv": "matroska", ".mp4": "mp4"}
IN_MP4 = (
    "aac",
    "mp3",
    "ac3",
    "eac3",
    "opus",
    "alac",
    "flac",
)  # copied codecs; others are converted to AAC
AAC_BITS = 192_000
PRIMING_S = 0.1  # packets this shortly before the first picture only prime the decoder


class Sound:
    """The first audio stream of a file. begin_s: start of its picture, by which the sound is shifted."""

    def __init__(self, path: Path):
        self._file = av.open(str(path))
        audio, video = self._file.streams.audio, self._file.streams.video
        self.stream = audio[0] if audio else None
        self.begin_s = 0.0
        if video and video[0].start_time is not None and video[0].time_base is not None:
            self.begin_s = float(video[0].start_time * video[0].time_base)

    def __enter__(self) -> Sound:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def packets(self) -> Iterator[av.Packet]:
        """Packets in order from the first picture on, including an encoder's priming packets."""
        if self.stream is None:
            return
        for packet in self._file.demux(self.stream):
            if packet.size and packet.pts is not None and packet.time_base is not None:
                shift = round(self.begin_s / packet.time_base)
                packet.pts -= shift
                packet.dts = packet.pts
                if packet.pts * packet.time_base > -PRIMING_S:
                    yield packet

    def frames(self) -> Iterator[av.AudioFrame]:
        """The same as decoded frames."""
        if self.stream is None:
            return
        for frame in self._file.decode(self.stream):
            if frame.pts is not None and frame.time_base is not None:
                frame.pts -= round(self.begin_s / frame.time_base)
                if frame.pts >= 0:
                    yield frame


def write_with_sound(
    path: Path, parts: Sequence[tuple[Path, Sequence[int]]], sound: Sound | None = None
) -> None:
    """Copy the pictures of all parts and the sound into one file.

    parts: files, and the times of their pictures in milliseconds; each part begins with a key frame and has
    no B-frames. Raises OSError."""
    kind = FORMATS[path.suffix.lower()]
    options = {"movflags": "+faststart"} if kind == "mp4" else {}
    with av.open(
        str(path), "w", format=kind, options=options, container_options={"fflags": "+bitexact"}
    ) as out:
        with av.open(str(parts[0][0])) as first:
            picture = out.add_stream_from_template(first.streams.video[0])
        picture.time_base = MILLISECOND
        heard = sound_packets(out, sound) if sound is not None and sound.stream is not None else iter(())
        waiting = next(heard, None)
        for ms, packet in pictures_of(parts):
            while waiting is not None and time_ms(waiting) <= ms:
                out.mux(waiting)
                waiting = next(heard, None)
            packet.pts = packet.dts = ms
            packet.time_base, packet.stream = MILLISECOND, picture
            out.mux(packet)
        while waiting is not None:
            out.mux(waiting)
            waiting = next(heard, None)


def time_ms(packet: av.Packet) -> float:
    assert packet.dts is not None and packet.time_base is not None
    return float(packet.dts * packet.time_base) * 1000


def pictures_of(parts: Sequence[tuple[Path, Sequence[int]]]) -> Iterator[tuple[int, av.Packet]]:
    for path, times in parts:
        with av.open(str(path)) as part:
            packets = (packet for packet in part.demux(part.streams.video[0]) if packet.size)
            for ms, packet in zip(times, packets, strict=True):
                made = av.Packet(bytes(packet))
                made.is_keyframe = packet.is_keyframe
                yield ms, made


def sound_packets(out: OutputContainer, sound: Sound) -> Iterator[av.Packet]:
    """Packets for the output: copied if its format allows the codec, else encoded as AAC."""
    assert sound.stream is not None
    codec = sound.stream.codec_context.name
    if out.format.name != "mp4" or codec in IN_MP4:
        copy = out.add_stream_from_template(sound.stream)
        return copied(sound, copy)
    rate = sound.stream.codec_context.sample_rate
    layout = "mono" if sound.stream.codec_context.channels == 1 else "stereo"
    encoded = out.add_stream("aac", rate=rate, layout=layout)
    encoded.bit_rate = AAC_BITS
    return encoded_anew(sound, encoded, rate, layout)


def copied(sound: Sound, stream) -> Iterator[av.Packet]:
    for packet in sound.packets():
        packet.stream = stream
        yield packet


def encoded_anew(sound: Sound, stream, rate: int, layout: str) -> Iterator[av.Packet]:
    resampler = AudioResampler("fltp", layout, rate, stream.codec_context.frame_size or 1024)
    for frame in sound.frames():
        for part in resampler.resample(frame):
            yield from stream.encode(part)
    for part in resampler.resample(None):
        yield from stream.encode(part)
    yield from stream.encode(None)
