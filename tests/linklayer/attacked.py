"""A real web process with one worker, as the tests of its edge attack it."""

from pathlib import Path

from tests.product import Product

SETTINGS = {"PUBLIC_URL": "", "LINKTREE_BASE_URL": "", "LINKTREE_API_KEY": "", "RATELIMIT_ENABLE": "false"}


class Web:
    """One web process with one worker."""

    def __init__(self, product: Product, master_pid: int) -> None:
        self.port = product.web_port
        self.spool = product.spool
        self.worker_pid = int(Path(f"/proc/{master_pid}/task/{master_pid}/children").read_text().split()[0])

    def begin_peak(self) -> int:
        """Begin to watch the memory anew; returns what is resident now, in bytes."""
        Path(f"/proc/{self.worker_pid}/clear_refs").write_text("5")  # proc(5): sets VmHWM to VmRSS
        return self.peak()

    def peak(self) -> int:
        """Return the most memory that was resident since `begin_peak`, in bytes."""
        status = Path(f"/proc/{self.worker_pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.worker_pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


def get(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()
