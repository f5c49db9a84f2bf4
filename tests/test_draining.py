"""Workers and all of web end under load: every request that was sent gets its whole answer, and every click counts.

The clients know whether a connection ended between an answer and the next request, which is fine, or under a request.
"""

import http.client
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.db import connection, transaction

from analytics import frames
from linklayer.embedded.processes import Keeper
from linklayer.keys import create_api_key
from tests.keep_alive import Crowd
from tests.product import Product, Site
from tests.servers.running import RunningServer
from tests.test_story import eventually

SLUGS = 8
PAGE_BYTES = 8 << 20  # more than the sockets' buffers hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture
def product(keeper: Keeper, transactional_db: None, tmp_path: Path) -> Iterator[Product]:
    """Processes with static files of their own, and patience with a locked table."""
    static = tmp_path / "var" / "static"
    static.mkdir(parents=True)
    (static / "page.txt").write_bytes(b"x" * PAGE_BYTES)
    product = Product(keeper, tmp_path, {"LINKLAYER_VAR": str(tmp_path / "var"), "DATABASE_LOCK_TIMEOUT_MS": "9000"})
    yield product
    product.stop()


@pytest.fixture
def key(transactional_db: None) -> str:
    return create_api_key(name="draining", scopes=["links:write"])[1]


def created_slugs(site: Site, key: str) -> list[str]:
    made = [site.post("/api/links", {"url": f"https://example.com/{number}"}, key=key) for number in range(SLUGS)]
    return [link.json()["slug"] for link in made]


@contextmanager
def visitors(port: int, slugs: list[str]) -> Iterator[list[Crowd]]:
    """Clients of every kind: hasty ones, with packets of five, slower ones, with a connection for each request."""
    paths = [f"/{slug}" for slug in slugs]
    crowds = [
        Crowd(port, paths, clients=2, pause_seconds=0.002),
        Crowd(port, paths, clients=2, pause_seconds=0.01, together=5),
        Crowd(port, paths, clients=20, pause_seconds=0.1),
        Crowd(port, paths, clients=2, pause_seconds=0.01, fresh=True),
    ]
    with ExitStack() as stack:
        for crowd in crowds:
            stack.enter_context(crowd)
        yield crowds


def workers(web: RunningServer) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{web.pid}/task/{web.pid}/children").read_text().split()}


def recorded_clicks(spool: Path) -> int:
    """Count the records of a spool that nobody writes to any more; all of it was sealed."""
    assert not list(spool.glob("*.open"))
    found = [frame for path in spool.glob("*.sealed") for frame in frames.scan(path.read_bytes())]
    return sum(frame.mark == frames.RECORD_MARK for frame in found)


def accepted_clicks() -> int:
    """What the processes said last that they had accepted."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(accepted), 0) FROM analytics_processgeneration")
        return int(cursor.fetchone()[0])


def nothing_was_cut(crowds: list[Crowd], spool: Path) -> None:
    for crowd in crowds:
        assert (crowd.seen.cut, crowd.seen.refused, set(crowd.seen.answered)) == ([], 0, {302})
    assert all(crowd.seen.told_to_close for crowd in crowds if not crowd.fresh)  # each has met a worker that ended
    assert recorded_clicks(spool) == accepted_clicks() == sum(crowd.seen.answered[302] for crowd in crowds)


def test_restarts_of_workers_under_load_cut_no_request(product: Product, key: str, tmp_path: Path) -> None:
    """Three rolling restarts in a row, then the end of one worker."""
    site, web = product.web()
    with visitors(product.web_port, created_slugs(site, key)) as crowds:
        for _ in range(3):
            old = workers(web)
            time.sleep(0.2)
            os.kill(web.pid, signal.SIGHUP)
            eventually(lambda old=old: not old & workers(web))  # type: ignore[misc] # a lambda's default has no type
        (one, *_) = old = workers(web)
        os.kill(one, signal.SIGTERM)
        eventually(lambda: one not in workers(web) and len(workers(web)) == len(old))
    os.kill(web.pid, signal.SIGTERM)
    eventually(lambda: web.has_ended)
    nothing_was_cut(crowds, product.spool)
    for restart in (tmp_path / "web.log").read_text().split("Handling signal: hup")[1:]:  # nobody has to wait either
        assert restart.index("Application startup complete") < restart.index("Shutting down")


def test_what_is_under_way_when_all_ends_is_answered(product: Product, key: str) -> None:
    """SIGTERM: /readyz says so for DRAIN_SECONDS, then what has begun is finished, by visitors and by us."""
    site, web = product.web(processes=1, environ={"DRAIN_SECONDS": "1.0"})
    slug = created_slugs(site, key)[0]
    assert site.get(f"/{slug}").status == 302
    half_asked = opened(product.web_port, f"GET /{slug} HTTP/1.1\r\nHost: localhost\r\n")
    not_asked = opened(product.web_port, "")
    half_read = http.client.HTTPConnection("127.0.0.1", product.web_port, timeout=30)
    half_read.request("GET", "/static/page.txt")
    page = half_read.getresponse()
    read = len(page.read(100_000))
    with locked_links():
        slow = opened(
            product.web_port,
            f"GET /api/links/{slug} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n",
        )
        os.kill(web.pid, signal.SIGTERM)
        eventually(lambda: site.get("/readyz").status == 503)
        assert site.get("/readyz").json() == {"status": "unavailable", "failing": ["draining"]}
        assert site.get(f"/{slug}").status == 302
        eventually(lambda: refuses(product.web_port))
        half_asked.sendall(b"\r\n")
        not_asked.sendall(f"GET /{slug} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    for client, status in ((half_asked, 302), (not_asked, 302), (slow, 200)):
        head = to_the_end(client).partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nconnection: close" in head
    assert read + len(page.read()) == PAGE_BYTES
    half_read.close()
    eventually(lambda: web.has_ended)
    assert recorded_clicks(product.spool) == accepted_clicks() == 4


def test_restarts_of_the_desks_workers_cut_no_request(product: Product, key: str) -> None:
    site, desk = product.desk()
    slug = created_slugs(site, key)[0]
    port = int(site.url.rpartition(":")[2])
    with Crowd(port, [f"/{slug}"], clients=4, pause_seconds=0.01) as crowd:
        for _ in range(2):
            old = workers(desk)
            time.sleep(0.2)
            os.kill(desk.pid, signal.SIGHUP)
            eventually(lambda old=old: not old & workers(desk))  # type: ignore[misc] # as above
    assert (crowd.seen.cut, crowd.seen.refused, set(crowd.seen.answered)) == ([], 0, {302})


@contextmanager
def locked_links() -> Iterator[None]:
    """Let every read of the table of links wait."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE shortlinks_shortlink IN ACCESS EXCLUSIVE MODE")
        yield


def opened(port: int, sent: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.sendall(sent.encode())
    return client


def to_the_end(client: socket.socket) -> bytes:
    received = b""
    with client:
        while chunk := client.recv(65536):
            received += chunk
    return received


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False
