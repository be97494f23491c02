"""The last seconds of video as encoded packets, in bounded memory; a key saves them to a file."""

from __future__ import annotations

from collections import deque

from renderer.recording.encoder import Packet


class PacketRing:
    """Packets of the last `seconds`, from a key frame on, in at most `most_bytes`."""

    def __init__(self, seconds: float, most_bytes: int = 64 << 20):
        self._span_ms, self._most_bytes = round(seconds * 1000), most_bytes
        self._packets: deque[Packet] = deque()
        self.bytes = 0

    def add(self, packet: Packet) -> None:
        self._packets.append(packet)
        self.bytes += len(packet.data)
        while self._next_key() and (self.bytes > self._most_bytes or self._first_group_is_old(packet.ms)):
            self._drop()
        while self.bytes > self._most_bytes and self._packets:  # one group larger than all that is allowed
            self._drop()

    def clear(self) -> None:
        self._packets.clear()
        self.bytes = 0

    def packets(self) -> list[Packet]:
        """The packets, from a key frame on. Those before the span are moved to its begin."""
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
        """The first group of packets is not needed: the second reaches back to the begin of the span."""
        return self._packets[self._next_key()].ms <= now_ms - self._span_ms

    def _next_key(self) -> int:
        """Index of the second key frame; 0 where there is none."""
        for at in range(1, len(self._packets)):
            if self._packets[at].key:
                return at
        return 0

    def _drop(self) -> None:
        """Drop the first packet and those that cannot be decoded without it."""
        self.bytes -= len(self._packets.popleft().data)
        while self._packets and not self._packets[0].key:
            self.bytes -= len(self._packets.popleft().data)
