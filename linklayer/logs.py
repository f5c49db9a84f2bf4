"""Logging: one JSON line per event on stderr (text on a terminal), a constant event name with facts beside it.

Configured explicitly: structlog's default renderer shows locals and, with `rich` installed, can eat all memory.
"""

import logging
import sys
from typing import Any

import structlog
from django.conf import settings

SHARED: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def configure(_logging_config: object = None) -> None:
    """Django's LOGGING_CONFIG callable; safe to call again."""
    is_terminal = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.LOG_LEVEL]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.LOG_LEVEL)
    logging.getLogger("django.request").setLevel("ERROR")  # a 404 is not news
    logging.getLogger("django.security.DisallowedHost").setLevel("CRITICAL")  # scanners; answered with 400
