"""Subprocess that connects the painting process to a served model.

It keeps Ray's threads and hanging connections out of the process with the window; a broken link is repaired
by ending this process and starting another. Imports neither torch nor diffusers.
"""

from __future__ import annotations

import contextlib
import os
import threading
from multiprocessing.connection import Connection
from typing import Any

from models.api import ModelError
from models.cluster.ray_session import connected, reason

SIGN_OF_LIFE_S = 5.0


def run(pipe: Connection, address: str, actor_name: str, codec: str, quality: int) -> None:
    """Connect, join, and forward messages until the pipe closes.

    Sends ("says", line), ("ready", card's fields), ("result", dict), ("alive", None), ("broken", line).
    Takes ("submit", fields) and ("cancel", number).
    """
    os.environ["RAY_CLIENT_RECONNECT_GRACE_PERIOD"] = "0"  # the painting process decides when to reconnect
    with contextlib.suppress(BrokenPipeError, EOFError):
        try:
            with connected(address) as ray:
                pass_on(pipe, ray, actor_name, codec, quality)
        except ModelError as error:
            pipe.send(("broken", str(error)))
        except Exception as error:
            pipe.send(("broken", reason(error)))
    os._exit(0)  # Ray's threads may hang on a broken link


def pass_on(pipe: Connection, ray: Any, actor_name: str, codec: str, quality: int) -> None:
    """Forward messages between the pipe and an open connection. Raises ModelError and Ray's own errors."""
    try:
        actor = ray.get_actor(actor_name)
    except ValueError as error:
        raise ModelError(f"no model named {actor_name.partition(':')[2]} is served there") from error
    pipe.send(("says", "the model is being loaded there"))
    while not (about := ray.get(actor.describe.remote(SIGN_OF_LIFE_S)))["card"]:
        if about["error"]:
            raise ModelError(about["error"])
        pipe.send(("alive", None))
    joined = ray.get(actor.join.remote(codec, quality))
    if "error" in joined:
        raise ModelError(joined["error"])
    painter = joined["painter"]
    pipe.send(("ready", about["card"]))

    def bring_results() -> None:
        """Fetch results by long polling: a call waits at the server, so results take half a round trip."""
        try:
            while True:
                result = ray.get(actor.result.remote(painter, SIGN_OF_LIFE_S))
                pipe.send(("alive", None) if result is None else ("result", result))
        except Exception as error:
            with contextlib.suppress(OSError):
                pipe.send(("broken", reason(error)))
            os._exit(0)

    threading.Thread(target=bring_results, daemon=True).start()
    try:
        while True:
            what, value = pipe.recv()
            if what == "submit":
                actor.submit.remote(painter, value)
            elif what == "cancel":
                actor.cancel.remote(painter, value)
    except EOFError:
        with contextlib.suppress(Exception):
            ray.get(actor.leave.remote(painter), timeout=1.0)
