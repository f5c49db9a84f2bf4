"""The settings of a web process whose front door holds no reads: the same edge, and Django answers everything."""

from tests.settings import *  # noqa: F403 - the settings of the test run, but for what follows

PUBLIC_READS = []
