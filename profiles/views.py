"""Public reads of profiles in plain Django: the JSON and the page, from the same answers as the front door."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from linklayer.keys import has_scope, key_of
from linklayer.public_reads import as_django, django_response
from linklayer.ratelimits import Guesses, check_rate
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


def answer_cached(request: HttpRequest, read: resolver.ProfileRead, username: str) -> HttpResponse:
    """Answer from a cached read. Raises Unavailable, or TooManyRequests for too many unknown names."""
    guesses = Guesses(request)
    key = resolve_key(request, username, guesses)
    found = None if key is None else read.reads.resolve(key, before_loading=guesses.before_loading)
    if found is None:
        guesses.not_found()
        return as_django(request, read.not_there())
    return django_response(request, read, found)


def resolve_key(request: HttpRequest, username: str, guesses: Guesses) -> str | None:
    def spend_budget() -> None:
        check_rate(request, group="unknown-profile", rate=UNKNOWN_PROFILE_RATE)

    return resolver.resolve_id(username, before_loading=guesses.before_loading, before_asking=spend_budget)


def _whole_profile(request: HttpRequest, username: str) -> HttpResponse:
    guesses = Guesses(request)
    key = resolve_key(request, username, guesses)
    if key is None:
        guesses.not_found()
        return as_django(request, resolver.profile_read.not_there())
    return JsonResponse(selectors.full_profile(int(key)), headers={"Cache-Control": "private, no-store"})
