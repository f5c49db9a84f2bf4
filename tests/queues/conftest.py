"""Processes on the private brokers: workers, the dead-letter consumer, a sender."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Queue
from kombu.message import Message

from linklayer import queues
from linklayer.celery import consuming_connection
from linklayer.embedded.processes import Keeper, Program
from linklayer.topology import DEAD_LETTERS, TASK_QUEUES
from tests.queues.waiting import eventually
from tests.servers.running import RunningServer

ROOT = Path(__file__).parent.parent.parent
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.queues.worker_settings"}

StartProcess = Callable[..., RunningServer]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget that another test's broker was away."""
    monkeypatch.setattr(queues, "_pause", queues._Pause())


class Sender:
    """The other end of sender_process.py."""

    def __init__(self, broker_url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.queues.sender_process"],
            cwd=ROOT,
            env={**os.environ, **SETTINGS, "AMQP_URL": broker_url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self) -> tuple[str, float]:
        """Return the outcome and how many seconds it took."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        outcome, seconds = self.process.stdout.readline().split()
        return outcome, float(seconds)

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture
def start_sender() -> Iterator[Callable[[str], Sender]]:
    senders: list[Sender] = []

    def start(broker_url: str) -> Sender:
        senders.append(Sender(broker_url))
        return senders[-1]

    yield start
    for sender in senders:
        sender.close()


@pytest.fixture
def start_process(keeper: Keeper, tmp_path: Path) -> Iterator[StartProcess]:
    """Start a Python program of ours on a broker: `start_process(url, "-m", "celery", ...)`; ended with the test."""
    started: list[RunningServer] = []

    def start(broker_url: str, *argv: str) -> RunningServer:
        program = Program(
            argv[-1],
            (sys.executable, *argv),
            ROOT,
            tmp_path / f"{len(started)}.log",
            {**SETTINGS, "AMQP_URL": broker_url},
        )
        started.append(RunningServer(keeper, broker_url, lambda: program, lambda: True))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def start_worker(start_process: StartProcess) -> Callable[[str], RunningServer]:
    """Start a worker on `webhooks.v1` and `default.v1` of a broker."""

    def start(broker_url: str) -> RunningServer:
        names = "webhooks.v1,default.v1"
        return start_process(broker_url, "-m", "celery", "-A", "linklayer", "worker", "-c", "1", "-Q", names)

    return start


@pytest.fixture
def empty_queues(rabbitmq: RunningServer) -> Iterator[Connection]:
    """A connection to RabbitMQ, all our queues declared and empty."""
    with consuming_connection() as connection:
        for queue in [*TASK_QUEUES.values(), DEAD_LETTERS]:
            bound = queue(connection.default_channel)
            bound.declare()
            bound.purge()
        yield connection


def depth(connection: Connection, queue: Queue) -> int:
    """Return how many messages wait in a queue."""
    with connection.channel() as channel:
        declared: Any = queue(channel).queue_declare(passive=True)
        return int(declared.message_count)


def take(connection: Connection, queue: Queue) -> Message:
    """Wait for a message in a queue and return it, not yet acknowledged."""
    wait_for_depth(connection, queue, 1)
    message = queue(connection.default_channel).get()
    assert message
    return message


def wait_for_depth(connection: Connection, queue: Queue, messages: int) -> None:
    eventually(lambda: depth(connection, queue) == messages, f"{queue.name} holds {messages}")
