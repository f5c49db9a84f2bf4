"""Public reads of profiles in plain Django: the JSON and the page, from the same answers as the front door."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from linklayer.errors import NotFound
from linklayer.keys import has_scope, key_of
from linklayer.problems import problem_response
from linklayer.public_reads import PublicRead, django_response
from linklayer.ratelimits import check_rate
from profiles import resolver, selectors

# A name that we do not know costs a call of Linktree's quota: nobody gets to guess faster than this.
UNKNOWN_PROFILE_RATE = "20/m"


@csrf_exempt  # only GET and HEAD get in
@require_safe
def profile_view(request: HttpRequest, username: str) -> HttpResponse:
    """`GET /api/profiles/<username>`: from the cache, or whole and uncached for a key with profile:read."""
    if has_scope(key_of(request), "profile:read"):
        return _whole_profile(request, username)
    return answer_cached(request, resolver.profile_read, username)


@csrf_exempt  # only GET and HEAD get in
@require_safe
def page_view(request: HttpRequest, username: str) -> HttpResponse:
    """`GET /@<username>`: the profile page."""
    return answer_cached(request, resolver.page_read, username)


def answer_cached(request: HttpRequest, read: PublicRead, username: str) -> HttpResponse:
    """Answer from a cached read. Raises NotFound, Unavailable, or TooManyRequests for too many unknown names."""
    key = resolve_key(request, username)
    found = None if key is None else read.reads.resolve(key)
    if found is None:
        raise NotFound("There is no such profile.")
    return django_response(request, read, found)


def resolve_key(request: HttpRequest, username: str) -> str | None:
    def spend_budget() -> None:
        check_rate(request, group="unknown-profile", rate=UNKNOWN_PROFILE_RATE)

    return resolver.resolve_id(username, before_asking=spend_budget)


def _whole_profile(request: HttpRequest, username: str) -> HttpResponse:
    key = resolve_key(request, username)
    if key is None:
        return problem_response(NotFound("There is no such profile."))
    return JsonResponse(selectors.full_profile(int(key)), headers={"Cache-Control": "private, no-store"})
