"""A private RabbitMQ from the machine's `rabbitmq-server`, with its own epmd, data, cookie and ports."""

import contextlib
import shutil
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from linklayer.embedded.processes import EmbeddedError, Program

_DEBIAN_SCRIPTS = Path("/usr/lib/rabbitmq/lib")
_AMQP_0_9_1 = b"AMQP\x00\x00\x09\x01"


@dataclass(frozen=True, slots=True)
class RabbitMQ:
    """One node. home: its folder; port, distribution_port, epmd_port: free loopback ports, its own."""

    home: Path
    port: int
    distribution_port: int
    epmd_port: int

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def epmd(self) -> Program:
        """Return the port mapper to start first: else Erlang would leave one behind, for the whole machine."""
        self.home.mkdir(parents=True, exist_ok=True)
        argv = (_find("epmd"), "-address", "127.0.0.1", "-port", str(self.epmd_port))
        return Program("epmd", argv, self.home, self.home / "epmd.log", stop_signal=signal.SIGKILL, stage=1)

    def program(self) -> Program:
        """Return how to run the node. It is killed, not asked, in the end: its data go with the test run."""
        (self.home / "plugins").write_text("[].")
        (self.home / "rabbitmq.conf").write_text(
            "disk_free_limit.absolute = 10MB\nvm_memory_high_watermark.absolute = 1GB\n"
        )
        environ = {
            "HOME": str(self.home),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "none"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.home / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "logs"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RABBITMQ_NODENAME": f"linklayer{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            # Erlang's schedulers spin while they wait; on two cores that time is the tests'.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        return Program(
            name="RabbitMQ",
            argv=(_find("rabbitmq-server"),),
            directory=self.home,
            log=self.home / "log",
            environ=environ,
            stop_signal=signal.SIGKILL,
        )

    def is_ready(self) -> bool:
        """Say whether it answers the handshake of AMQP 0-9-1."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as connection,
        ):
            connection.sendall(_AMQP_0_9_1)
            return connection.recv(1) == b"\x01"
        return False


def is_installed() -> bool:
    """Say whether this machine has a RabbitMQ to run."""
    try:
        _find("rabbitmq-server")
    except EmbeddedError:
        return False
    return True


def _find(command: str) -> str:
    """Return the path of a program of RabbitMQ.

    Debian's `rabbitmq-server` in the search path changes to the user rabbitmq and its folders; the script behind it
    does as the environment says. Raises EmbeddedError if there is none.
    """
    for script in _DEBIAN_SCRIPTS.glob(f"*/sbin/{command}"):
        return str(script)
    path = shutil.which(command)
    if path is None:
        raise EmbeddedError(f"{command} is missing: install RabbitMQ (Debian, Ubuntu: apt install rabbitmq-server)")
    return path
