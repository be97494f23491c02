"""Ring buffer of encoded packets: the last seconds of video in bounded memory, to be saved on a key press."""

from __future__ import annotations

from collections import deque

from renderer.recording.encoder import Packet


class PacketRing:
    """Packets of the last `seconds`, starting at a key frame, in at most `most_bytes`."""

    def __init__(self, seconds: float, most_bytes: int = 64 << 20):
        self._span_ms, self._most_bytes = round(seconds * 1000), most_bytes
        self._packets: deque[Packet] = deque()
        self.bytes = 0

    def add(self, packet: Packet) -> None:
        self._packets.append(packet)
        self.bytes += len(packet.data)
        while self._next_key() and (self.bytes > self._most_bytes or self._first_group_is_old(packet.ms)):
            self._drop()
        while self.bytes > self._most_bytes and self._packets:  # one group exceeds the limit
            self._drop()

    def clear(self) -> None:
        self._packets.clear()
        self.bytes = 0

    def packets(self) -> list[Packet]:
        """The packets, starting at a key frame. Those before the time span are moved to its beginning."""
        packets = list(self._packets)
        while packets and not packets[0].key:
            packets.pop(0)
        if not packets:
            return []
        begin_ms = packets[-1].ms - self._span_ms
        early = sum(packet.ms < begin_ms for packet in packets)
        moved = [p._replace(ms=begin_ms - early + n) for n, p in enumerate(packets[:early])]
        return moved + packets[early:]

    def _first_group_is_old(self, now_ms: int) -> bool:
        """Whether the first group can be dropped because the second covers the beginning of the time span."""
        return self._packets[self._next_key()].ms <= now_ms - self._span_ms

    def _next_key(self) -> int:
        """Index of the second key frame; 0 if there is none."""
        for at in range(1, len(self._packets)):
            if self._packets[at].key:
                return at
        return 0

    def _drop(self) -> None:
        """Drop the first group: a key frame and the packets that depend on it."""
        self.bytes -= len(self._packets.popleft().data)
        while self._packets and not self._packets[0].key:
            self.bytes -= len(self._packets.popleft().data)
