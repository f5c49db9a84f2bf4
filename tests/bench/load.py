"""Puts load on a server by wrk where it is installed, else by the bundled client."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.bench import load_client
from tests.bench.load_client import Orders
from tests.bench.measurement import Measurement

_SCRIPT = Path(__file__).with_name("wrk.lua")
_THREADS = 2
_MARK = "MEASURED "


def client_name() -> str:
    """Return which client `put_load` uses, with its version; without wrk, what that means for the figures."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return (
            "the bundled Python client (slower than the servers it measures: with wrk installed all figures are higher)"
        )
    said = subprocess.run([wrk, "--version"], capture_output=True, text=True, check=False).stdout  # exits with 1
    return " ".join(said.split()[:2])


def put_load(orders: Orders) -> Measurement:
    """Run one load with the given orders.

    wrk counts an answer when it has read it whole, and stops without waiting for those under way: up to one per
    connection may have been answered beyond its count. Raises subprocess.CalledProcessError when the client fails.
    """
    wrk = shutil.which("wrk")
    return load_client.run(orders, processes=_THREADS) if wrk is None else _by_wrk(wrk, orders)


def _by_wrk(wrk: str, orders: Orders) -> Measurement:
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as paths:
        paths.write("\n".join(orders.paths) + "\n")
        paths.flush()
        command = [wrk, f"-c{orders.connections}", f"-t{_THREADS}", f"-d{orders.seconds:.0f}s", "--timeout", "10s"]
        headers = [f"{name}: {value}" for name, value in orders.headers]
        asked = [paths.name, orders.method, orders.body, *headers]
        command += ["-s", str(_SCRIPT), f"http://{orders.host}:{orders.port}", "--", *asked]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    said = json.loads(output.split(_MARK, 1)[1])
    errors = {"status ≥ 400": said["status"], "connection": said["connection"], "timeout": said["timeout"]}
    return Measurement(
        requests=said["requests"],
        seconds=said["microseconds"] / 1e6,
        p50_ms=said["p50"] / 1000,
        p99_ms=said["p99"] / 1000,
        errors={what: count for what, count in errors.items() if count},
        unread=orders.connections,
    )
