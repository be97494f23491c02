"""Connect to Ray: a local cluster, a node of a cluster, or a client address. Needs no torch.

Ray reads its authentication settings on import, so `import_ray` sets them first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.api import ModelError

LOCAL = "local"  # address of a cluster on this machine only
NAMESPACE = "flowbrush"
CLIENT_PORT = 10001
WRONG_TOKEN = "the token is missing or wrong; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
ANSWER_S = 5.0  # time for a connection to be accepted
ATTEMPTS, SLOW_START = (
    3,
    "Initialization failure",
)  # a busy server starts a driver later than Ray's default timeout
OBJECT_STORE_BYTES = 512 << 20  # of a local cluster: holds results until they are written to disk
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # otherwise Ray listens on every network interface


def token_file() -> Path:
    """Return the file in which Ray looks for a token if no environment variable names one."""
    return Path.home() / ".ray" / "auth_token"


def token() -> str:
    """Return the token that Ray would use on this machine, or an empty string."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"]
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or token_file())
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").strip()
    return ""


def import_ray(address: str = LOCAL) -> Any:
    """Import and return the module `ray`, with token authentication enabled if there is a token.

    A local cluster gets a new token that is not written to a file. Raises ModelError without the extra.
    """
    if address == LOCAL:
        os.environ.setdefault("RAY_AUTH_TOKEN", token() or secrets.token_hex(32))
        for name, value in LOOPBACK_ONLY.items():
            os.environ.setdefault(name, value)
    if token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # disable usage reports
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    try:
        import ray
    except ImportError as error:
        raise ModelError("this needs Ray: pip install 'flowbrush[ray]'") from error
    return ray


@contextlib.contextmanager
def connected(address: str, *, cpus: int | None = None) -> Iterator[Any]:
    """Connect to a cluster, yield the module `ray`, and disconnect at exit; also stops a local cluster.

    address: LOCAL, HOST:PORT of the head of a cluster that this machine is a node of, or ray://HOST:PORT.
    cpus: number for a local cluster; all by default. Raises ModelError with one line if nothing answers.
    """
    ray = import_ray(address)
    options: dict = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {"num_cpus": cpus or os.cpu_count(), "include_dashboard": False, "address": LOCAL}
        options["object_store_memory"] = OBJECT_STORE_BYTES
    else:
        options["address"] = address
        check_answers(address)
        if address.startswith("ray://"):
            check_token(address.removeprefix("ray://"))
    for attempt in range(ATTEMPTS):
        try:
            ray.init(**options)
            quiet()
            break
        except Exception as error:  # gRPC, ConnectionError, RuntimeError, AuthenticationError and others
            ray.shutdown()
            if attempt + 1 == ATTEMPTS or SLOW_START not in str(error):
                raise ModelError(f"no Ray cluster answers at {address}: {reason(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Raise ModelError unless something listens at the address. Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ModelError(f"{address!r} is no address; give HOST:PORT or ray://HOST:{CLIENT_PORT}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ModelError(f"no Ray cluster answers at {address}: {error}") from error


def check_token(address: str) -> None:
    """Raise ModelError if a client server refuses the token.

    Ray itself retries for half a minute and then reports a timeout.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    channel = init_grpc_channel(address, asynchronous=False)
    messages: Any = ray_client_pb2  # generated code without types
    ping = messages.ClusterInfoRequest(type=messages.ClusterInfoType.PING)
    try:
        ray_client_pb2_grpc.RayletDriverStub(channel).ClusterInfo(ping, timeout=ANSWER_S)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise ModelError(f"no Ray cluster answers at ray://{address}: {WRONG_TOKEN}") from error
    finally:
        channel.close()


def quiet() -> None:
    """Keep Ray's messages about dead workers off stdout, which is for results.

    Ray prints them whatever `log_to_driver` says. Repeated jobs are reported where it matters.
    """
    from ray._private import worker

    worker.print_to_stdstream = lambda data, ignore_prefix=False: None


def reason(error: BaseException) -> str:
    """Return the first informative line of a Ray error, whose text spans many lines."""
    if type(error).__name__ == "AuthenticationError" or "uthenticat" in str(error):
        return (
            "the token is missing or wrong; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
