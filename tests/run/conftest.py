import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from linklayer.embedded.session import temporary_folder


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short name, for sockets, which other users may pass."""
    folder = Path(tempfile.mkdtemp(prefix="ll-", dir=temporary_folder()))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
