"""The Linktree client (`docs/linktree-contract.md`). Only `profiles/services.py` and its neighbours use it."""

from profiles.linktree.caller import Time
from profiles.linktree.client import BulkResult, LinktreeClient
from profiles.linktree.wire import LinktreeLink, LinktreeProfile

__all__ = ["BulkResult", "LinktreeClient", "LinktreeLink", "LinktreeProfile", "Time"]
