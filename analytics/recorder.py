"""The door by which clicks and views come in: facts of a request in, one record in this process's spool out.

Runs in the visitor's request: it never raises, never waits, never publishes, never touches a database. What goes wrong
is logged and counted. Callers record what was answered to a GET; a HEAD is neither click nor view.
"""

import atexit
import os
import threading
import time
from functools import lru_cache

import structlog
from django.conf import settings
from iptocc import country_code

from analytics import contracts, metrics
from analytics.contracts import Event, Kind, clean_text, encode_event
from analytics.frames import record_frame
from analytics.heartbeat import Heartbeat
from analytics.spool import Spool
from analytics.visitors import Salts, truncated_address, visitor_number
from linklayer.turn import turn_here
from linklayer.visitor import VisitorFacts

logger = structlog.get_logger(__name__)

DAY_SECONDS = 86_400
_CLICK, _VIEW = Kind.CLICK, Kind.VIEW  # looked up once: Enum takes its time
REMEMBERED_ADDRESSES = 4096  # visitors come in bursts, and most through few proxies


class Recorder:
    """Turns facts into records of one spool. address: how much of it is kept, "truncated", "none" or "full"."""

    def __init__(self, spool: Spool, *, address: str, respect_gpc: bool, respect_dnt: bool) -> None:
        self.spool = spool
        self.salts = Salts()
        self.heartbeat = Heartbeat(spool, self.salts)
        self._address = address
        self._respect_gpc = respect_gpc
        self._respect_dnt = respect_dnt
        self._gathered: list[bytes] = []
        self._place = lru_cache(maxsize=REMEMBERED_ADDRESSES)(self._looked_up)

    def record(
        self, kind: Kind, link_id: int | None, profile_id: int | None, slug_version: int, facts: VisitorFacts
    ) -> None:
        """Keep one event, on disk or in the ring; in the event loop with the others of its turn, before any answer."""
        frame = record_frame(encode_event(self._event(kind, link_id, profile_id, slug_version, facts)))
        turn = turn_here()
        if turn is None:
            self.spool.append(frame)
            return
        if not self._gathered:
            turn.before_answers(self.keep_gathered)
        self._gathered.append(frame)

    def keep_gathered(self) -> None:
        """Keep the events of this turn of the event loop, by one write."""
        frames, self._gathered = self._gathered, []
        if frames:
            self.spool.append(*frames)

    def _event(
        self, kind: Kind, link_id: int | None, profile_id: int | None, slug_version: int, facts: VisitorFacts
    ) -> Event:
        now = time.time()
        generation, sequence = self.spool.next_record()
        user_agent = clean_text(facts.user_agent, contracts.USER_AGENT_CHARACTERS)
        purpose = facts.purpose and clean_text(facts.purpose, contracts.PURPOSE_CHARACTERS)
        is_private = (facts.global_privacy_control and self._respect_gpc) or (facts.do_not_track and self._respect_dnt)
        if is_private:
            # Counted, and no more: the user agent goes no further than the verdict of the worker.
            visitor, country, address, referrer, language, query = None, "", "", "", "", ""
        else:
            whole_address, country, address = self._place(facts.address)
            visitor = visitor_number(self.salts.salt(int(now // DAY_SECONDS)), whole_address, user_agent)
            referrer = facts.referrer and clean_text(facts.referrer, contracts.REFERRER_CHARACTERS)
            language = facts.accept_language and _first_language(facts.accept_language)
            query = facts.query and clean_text(facts.query, contracts.QUERY_CHARACTERS)
        return Event(
            kind,
            int(now * 1e6),
            generation,
            sequence,
            link_id,
            profile_id,
            slug_version,
            visitor,
            is_private,
            purpose,
            country,
            "",
            address,
            user_agent,
            referrer,
            language,
            query,
        )

    def _looked_up(self, address: str) -> tuple[str, str, str]:
        """Return the clean address, its country and what is kept of it."""
        address = clean_text(address, contracts.ADDRESS_CHARACTERS)
        return address, country_code(address) or "", self._kept_address(address)

    def _kept_address(self, address: str) -> str:
        if self._address == "none":
            return ""
        if self._address == "full":
            return address
        return truncated_address(address)


def record_click(*, link_id: int, profile_id: int | None, slug_version: int, facts: VisitorFacts) -> None:
    """Count one followed short link; slug_version: the version of the row that was served."""
    try:
        (_current or _open()).record(_CLICK, link_id, profile_id, slug_version, facts)
    except Exception:
        metrics.clicks_failed.inc()
        logger.exception("click_failed", link_id=link_id, profile_id=profile_id)


def record_view(*, profile_id: int, facts: VisitorFacts) -> None:
    """Count one profile read."""
    try:
        (_current or _open()).record(_VIEW, None, profile_id, 0, facts)
    except Exception:
        metrics.clicks_failed.inc()
        logger.exception("view_failed", profile_id=profile_id)


def close() -> None:
    """Seal this process's segment and stop its threads; also done at exit. The next record opens anew."""
    global _current
    with _current_lock:
        recorder, _current = _current, None
    if recorder is not None:
        recorder.keep_gathered()
        recorder.spool.close()
        recorder.heartbeat.stop()


def _open() -> Recorder:
    global _current  # noqa: PLW0603 - one recorder per process
    with _current_lock:
        if _current is None:
            recorder = Recorder(
                Spool(settings.SPOOL_DIR, max_bytes=settings.SPOOL_MAX_BYTES),
                address=settings.CLICK_ADDRESS,
                respect_gpc=settings.RESPECT_GPC,
                respect_dnt=settings.RESPECT_DNT,
            )
            recorder.heartbeat.start()
            _current = recorder
        return _current


def _first_language(accept_language: str) -> str:
    """Return the first tag of an Accept-Language header (RFC 9110, section 12.5.4), in lower case."""
    tag = accept_language.partition(",")[0].partition(";")[0].strip().lower()
    return clean_text(tag, contracts.LANGUAGE_CHARACTERS)


def _after_fork() -> None:
    """The parent's recorder is not ours: its threads stayed with the parent, its spool has let go by itself."""
    global _current, _current_lock
    _current, _current_lock = None, threading.Lock()


_current: Recorder | None = None
_current_lock = threading.Lock()
os.register_at_fork(after_in_child=_after_fork)
atexit.register(close)
