"""The home page in plain Django: a URL in, a short link out. It writes, so it stands apart from the redirect."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from analytics.selectors import click_counts
from linklayer.errors import Conflict, InvalidInput, LinkLayerError, NotFound, TooManyRequests, Unavailable
from linklayer.ratelimits import check_rate, guessing
from shortlinks import selectors, services
from shortlinks.addresses import short_url
from shortlinks.pages import CONTENT_SECURITY_POLICY
from shortlinks.slugs import MAX_LENGTH, MIN_LENGTH, is_slug


@require_http_methods(["GET", "HEAD", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """The form that shortens a URL, and, at `/?made=<slug>`, what it made: it all works without JavaScript."""
    if request.method == "POST":
        return _create(request)
    return _home(request, made=_made(request, request.GET.get("made", "")))


def _create(request: HttpRequest) -> HttpResponse:
    given = {"url": request.POST.get("url", "").strip(), "slug": request.POST.get("slug", "").strip()}
    try:
        check_rate(request, group="anonymous-write", rate=settings.ANONYMOUS_WRITE_RATE)
        record = services.create_short_link(url=given["url"], slug=given["slug"] or None, is_anonymous=True)
    except InvalidInput as error:
        return _home(request, status=error.status, given=given, problems=error.errors)
    except Conflict as error:
        return _home(request, status=error.status, given=given, problems={"slug": [error.detail]})
    except (TooManyRequests, Unavailable) as error:
        return _refused(request, error, given)
    response = HttpResponseRedirect(f"/?made={record.slug}#made")
    response.status_code = 303
    return response


def _refused(request: HttpRequest, error: LinkLayerError, given: dict[str, str]) -> HttpResponse:
    seconds = error.retry_after_seconds or 1
    sentence = f"{error.title}. Please try again in {seconds} second{'s' if seconds > 1 else ''}."
    response = _home(request, status=error.status, given=given, problems={"": [sentence]})
    response.headers["Retry-After"] = str(seconds)
    return response


def _made(request: HttpRequest, slug: str) -> dict[str, Any] | None:
    """Return what the page shows of a link made here; only of anonymous ones, whose numbers are open."""
    if not is_slug(slug):
        return None
    try:
        with guessing(request):
            record = selectors.short_link_by_slug(slug)
    except NotFound:
        return None
    if not record.is_anonymous or not record.is_active:
        return None
    clicks = click_counts([record.id]).get(record.id, 0)
    return {"slug": slug, "short_url": short_url(request, slug), "url": record.destination, "clicks": clicks}


def _home(
    request: HttpRequest,
    *,
    status: int = 200,
    given: dict[str, str] | None = None,
    problems: dict[str, list[str]] | None = None,
    made: dict[str, Any] | None = None,
) -> HttpResponse:
    problems = problems or {}
    context = {
        "given": given or {},
        "url_problems": problems.get("url"),
        "slug_problems": problems.get("slug"),
        "other_problems": problems.get(""),
        "made": made,
        "host": request.get_host(),
        "slug_lengths": (MIN_LENGTH, MAX_LENGTH),
    }
    response = render(request, "shortlinks/home.html", context, status=status)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Cache-Control"] = "private, no-store"
    return response
