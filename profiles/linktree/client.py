"""The Linktree client: one method per endpoint that we use, typed results, typed errors.

Source: `docs/linktree-contract.md`, an assumed contract: no public general-purpose Linktree REST API was found.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from django.utils.html import strip_tags

from profiles.linktree.caller import CALL_BUDGET_SECONDS, MAX_ATTEMPTS, Caller, Route, Time
from profiles.linktree.errors import (
    BadResponse,
    DuplicateLink,
    LinktreeError,
    LinktreeNotFound,
    LinktreeUnavailable,
    ReadOnly,
    ThemeNotApplied,
    ValidationError,
)
from profiles.linktree.transport import HttpTransport
from profiles.linktree.wire import (
    ItemError,
    LinktreeLink,
    LinktreeProfile,
    read_item_errors,
    read_link,
    read_link_page,
    read_profile,
    unwrapped,
)

BULK_MAX = 10
PAGE_SIZE = 100
PAGES_MAX = 20
TITLE_MAX = 100
URL_MAX = 2048
_VERSION_SUFFIX = re.compile(r"/v\d+$")

GET_HEALTH = Route("GET", "/health", "profile")
GET_OWN_PROFILE = Route("GET", "/profile", "profile")
GET_PROFILE = Route("GET", "/profiles/{ref}", "profile")
PATCH_PROFILE = Route("PATCH", "/profiles/{id}", "profile")
LIST_LINKS = Route("GET", "/links", "profile")
CREATE_LINK = Route("POST", "/links", "link-write")
UPDATE_LINK = Route("PATCH", "/links/{id}", "link-write")
DELETE_LINK = Route("DELETE", "/links/{id}", "link-write")
REORDER_LINKS = Route("PATCH", "/links/reorder", "link-write")
PATCH_LINKS = Route("PATCH", "/profiles/{id}/links", "link-write")


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The outcome of a bulk update, over all its chunks. errors: index counts over everything that was given."""

    links: list[LinktreeLink] = field(default_factory=list)
    errors: list[ItemError] = field(default_factory=list)


class LinktreeClient:
    """Calls Linktree for one account. Safe for threads; holds one connection pool."""

    def __init__(
        self,
        base_url: str,
        credential: Callable[[], str],
        *,
        read_only: bool = False,
        time_source: Time | None = None,
    ) -> None:
        """credential: returns the present token. read_only: writes raise ReadOnly before any HTTP."""
        self.base_url = normalised_base_url(base_url)
        self._read_only = read_only
        self._transport = HttpTransport(self.base_url)
        self._caller = Caller(self._transport, credential, time_source or Time())

    def __repr__(self) -> str:
        return f"<LinktreeClient {self.base_url}>"

    @property
    def is_failing(self) -> bool:
        """Whether the circuit breaker is open."""
        return self._caller.breaker.is_open

    def close(self) -> None:
        self._transport.close()

    # --- reading

    def get_health(self) -> bool:
        """Return whether Linktree says that it is well (E1)."""
        answer = self._caller.call(GET_HEALTH, "/health")
        return isinstance(answer, dict) and answer.get("status") == "ok"

    def get_own_profile(self) -> LinktreeProfile:
        """Return the token's default profile with its links (E2)."""
        return read_profile(self._caller.call(GET_OWN_PROFILE, "/profile"))

    def get_profile(
        self, ref: str, *, budget_seconds: float = CALL_BUDGET_SECONDS, max_attempts: int | None = None
    ) -> LinktreeProfile:
        """Return a profile with its links, by username or id (E4).

        max_attempts: fewer than the usual 4, for a visitor who waits.
        Raises LinktreeNotFound if it is unknown, deactivated or another account's.
        """
        path = f"/profiles/{_segment(ref)}"
        answer = self._caller.call(
            GET_PROFILE, path, budget_seconds=budget_seconds, max_attempts=max_attempts or MAX_ATTEMPTS
        )
        return read_profile(answer)

    def list_links(self, profile_id: str, *, page_size: int = PAGE_SIZE) -> Iterator[LinktreeLink]:
        """Yield all links of a profile, page by page (E6).

        Raises BadResponse if the cursor is missing, repeats, or never ends.
        """
        seen: set[str] = set()
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            query = {"profile_id": profile_id, "limit": str(min(page_size, PAGE_SIZE))}
            if cursor is not None:
                query["cursor"] = cursor
            page = read_link_page(self._caller.call(LIST_LINKS, f"/links?{urlencode(query)}"))
            yield from page.links
            if not page.has_more:
                return
            if page.cursor is None or page.cursor in seen:
                raise BadResponse("the list of links has no next page although it says so")
            seen.add(page.cursor)
            cursor = page.cursor
        raise BadResponse("the list of links does not end")

    # --- writing

    def create_link(
        self, profile_id: str, *, title: str, url: str, position: int | None = None, idempotency_key: str | None = None
    ) -> LinktreeLink:
        """Add a link (E7). A URL that the profile has already becomes an update of that link."""
        fields = _clean_link({"title": title, "url": url, "position": position})
        body = {"profile_id": profile_id, **fields}
        headers = {"Idempotency-Key": idempotency_key or _idempotency_key("create_link", body)}
        try:
            return read_link(unwrapped(self._write(CREATE_LINK, "/links", body, headers)))
        except DuplicateLink as error:
            if error.existing_link_id is None:
                raise
            return self.update_link(error.existing_link_id, title=title, position=position)

    def update_link(
        self,
        link_id: str,
        *,
        title: str | None = None,
        url: str | None = None,
        position: int | None = None,
        is_active: bool | None = None,
    ) -> LinktreeLink:
        """Change what is given (E9)."""
        body = _clean_link({"title": title, "url": url, "position": position, "is_active": is_active})
        return read_link(unwrapped(self._write(UPDATE_LINK, f"/links/{_segment(link_id)}", body)))

    def delete_link(self, link_id: str) -> None:
        """Delete a link (E10); one that is gone already counts as deleted."""
        try:
            self._write(DELETE_LINK, f"/links/{_segment(link_id)}", None)
        except LinktreeNotFound:
            return

    def reorder_links(self, profile_id: str, link_ids: Sequence[str]) -> None:
        """Put all links of a profile into this order (E11)."""
        self._write(REORDER_LINKS, "/links/reorder", {"profile_id": profile_id, "link_ids": list(link_ids)})

    def patch_links(self, profile_id: str, changes: Sequence[dict[str, Any]]) -> BulkResult:
        """Change many links of one profile, 10 in a call (E12).

        changes: objects with `id` and any of title, url, position, is_active. Items that fail are reported, the others
        are applied; an error that ends the whole call is raised, unless it is a definite no and an earlier chunk was
        applied already: then the items of the rest are reported as failed.
        """
        result = BulkResult()
        for start in range(0, len(changes), BULK_MAX):
            chunk = changes[start : start + BULK_MAX]
            try:
                self._patch_chunk(profile_id, chunk, start, result)
            except LinktreeError as error:
                if start == 0 or isinstance(error, LinktreeUnavailable):
                    raise
                result.errors.extend(_failed_rest(changes, start, error.code, error.detail))
                break
        return result

    def update_profile(self, profile_id: str, changes: dict[str, Any]) -> LinktreeProfile:
        """Change display_name, bio, avatar_url or theme (E5).

        Raises ThemeNotApplied if Linktree answers 200 and keeps the old theme, as it does for an unknown theme id.
        """
        answer = self._write(PATCH_PROFILE, f"/profiles/{_segment(profile_id)}", changes)
        profile = read_profile(answer)
        wanted = changes.get("theme") or {}
        if any(profile.theme.get(name) != value for name, value in wanted.items()):
            raise ThemeNotApplied("Linktree kept the old theme", http_status=200)
        return profile

    def _patch_chunk(self, profile_id: str, chunk: Sequence[dict[str, Any]], start: int, result: BulkResult) -> None:
        items = [{"id": change["id"], **_clean_link({**change, "id": None})} for change in chunk]
        path = f"/profiles/{_segment(profile_id)}/links"
        try:
            answer = self._write(PATCH_LINKS, path, {"links": items})
        except ValidationError as error:
            if "errors" not in error.facts:  # not the answer "no item could be applied"
                raise
            answer = error.facts
        applied = (answer.get("data") or []) if isinstance(answer, dict) else None
        failed = read_item_errors(answer, [change["id"] for change in chunk])
        if not isinstance(applied, list) or not (applied or failed):
            raise BadResponse("the bulk answer does not say what was applied")
        result.links.extend([read_link(item) for item in applied])
        for item in failed:
            result.errors.append(ItemError(start + item.index, item.id, item.code, item.message))

    def _write(self, route: Route, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        if self._read_only:
            raise ReadOnly
        return self._caller.call(route, path, body=body, headers=headers)


def normalised_base_url(base_url: str) -> str:
    """Return the base URL without a trailing slash and with a version: `http://h` -> `http://h/v1`."""
    trimmed = base_url.rstrip("/")
    return trimmed if _VERSION_SUFFIX.search(urlsplit(trimmed).path) else f"{trimmed}/v1"


def clean_title(title: str) -> str:
    """Return the title as it is sent: without HTML tags, trimmed (contract section 10.5). Raises ValidationError."""
    cleaned = strip_tags(title).strip()
    if not 1 <= len(cleaned) <= TITLE_MAX:
        raise _local_error("title", f"must have 1 to {TITLE_MAX} characters")
    return cleaned


def _clean_link(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the given fields, checked; what is None is left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    if "title" in given:
        given["title"] = clean_title(given["title"])
    if "url" in given:
        url = given["url"]
        if urlsplit(url).scheme.lower() not in {"http", "https"} or len(url) > URL_MAX:
            raise _local_error("url", f"must begin with http:// or https:// and have at most {URL_MAX} characters")
    return given


def _local_error(name: str, message: str) -> ValidationError:
    return ValidationError(f"{name}: {message}", fields={name: [message]}, code="VALIDATION_ERROR", http_status=0)


def _segment(text: str) -> str:
    """Return a path segment, encoded. Raises LinktreeNotFound for what cannot be one."""
    if text in {"", ".", ".."} or "/" in text:
        raise LinktreeNotFound("this cannot be an id or a username", code="UNKNOWN")
    return quote(text, safe="")


def _idempotency_key(operation: str, parameters: dict[str, Any]) -> str:
    canonical = json.dumps([operation, parameters], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _failed_rest(changes: Sequence[dict[str, Any]], start: int, code: str, message: str) -> Iterator[ItemError]:
    for index, change in enumerate(changes[start:], start):
        yield ItemError(index, change["id"], code, message)
