"""TCP proxy on the loopback that simulates a poor network: delays, stalls and broken connections."""

from __future__ import annotations

import asyncio
import random
import threading

STALL_S = 0.2  # delay of a lost packet: the minimum retransmission timeout of Linux


class SlowLink:
    """Forwards `port` to `target_port` on the loopback.

    delay_ms: delay of each direction. loss: fraction of chunks (up to 16 KiB) that arrive STALL_S late, which
    also holds up all later ones. up: False refuses new connections and breaks existing ones.
    bytes_up, bytes_down: bytes forwarded in each direction.
    """

    def __init__(self, target_port: int, *, delay_ms: float = 0.0, loss: float = 0.0, seed: int = 0):
        self.target_port, self.delay_ms, self.loss = target_port, delay_ms, loss
        self.bytes_up = self.bytes_down = 0
        self._random = random.Random(seed)
        self._up, self._pairs = True, set()
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.close()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        pair = (writer, back)
        self._pairs.add(pair)
        ways = (self._copy(reader, back, "bytes_up"), self._copy(there, writer, "bytes_down"))
        await asyncio.gather(*ways, return_exceptions=True)
        self._pairs.discard(pair)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counted: str) -> None:
        queue: asyncio.Queue = asyncio.Queue()

        async def send() -> None:
            while (item := await queue.get()) is not None:
                due_s, piece = item
                await asyncio.sleep(due_s - self._loop.time())
                sink.write(piece)
                await sink.drain()
            sink.close()

        sender = asyncio.ensure_future(send())
        due_s = 0.0
        try:
            while piece := await source.read(16384):
                setattr(self, counted, getattr(self, counted) + len(piece))
                lost = self._random.random() < self.loss
                due_s = max(due_s, self._loop.time() + self.delay_ms / 1e3 + STALL_S * lost)
                queue.put_nowait((due_s, piece))
        finally:
            queue.put_nowait(None)
            await sender

    def cut(self) -> None:
        """Break all connections and refuse new ones until `mend` is called."""
        self._up = False

        def abort() -> None:
            for pair in list(self._pairs):
                for writer in pair:
                    writer.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def mend(self) -> None:
        self._up = True

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
