"""What can happen to a server, as contexts: it is as it was when they end."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import redis

from tests.servers.addresses import CACHE
from tests.servers.running import RunningServer

Fault = Callable[[RunningServer], AbstractContextManager[None]]


@contextmanager
def killed(server: RunningServer) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def frozen(server: RunningServer) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextmanager
def restarted(server: RunningServer) -> Iterator[None]:
    server.stop()
    server.start()
    yield


@contextmanager
def black_holed(_cache_server: RunningServer) -> Iterator[None]:
    """Its address takes connections and requests, and never answers; the connections from before are cut."""
    aside = CACHE.socket.with_suffix(".aside")
    CACHE.socket.rename(aside)
    try:
        with socket.socket(socket.AF_UNIX) as hole, redis.Redis(unix_socket_path=str(aside)) as behind:
            hole.bind(str(CACHE.socket))
            hole.listen(4096)
            cut_connections(behind, "normal", "pubsub")
            yield
    finally:
        aside.rename(CACHE.socket)


@contextmanager
def out_of_memory(_cache_server: RunningServer) -> Iterator[None]:
    """It answers, but takes in nothing."""
    with redis.Redis(unix_socket_path=str(CACHE.socket)) as server:
        before = server.config_get("maxmemory*")
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", 1)
        try:
            yield
        finally:
            server.config_set("maxmemory", before["maxmemory"])
            server.config_set("maxmemory-policy", before["maxmemory-policy"])


def cut_connections(server: redis.Redis, *kinds: str) -> None:
    for kind in kinds:
        server.client_kill_filter(_type=kind)
