"""The redirect in plain Django, beside the front door: no DRF, no third party, no write."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from linklayer.public_reads import as_django, django_response
from linklayer.ratelimits import Guesses
from shortlinks.pages import page
from shortlinks.resolver import redirect_read
from shortlinks.slugs import is_slug


@csrf_exempt  # only GET and HEAD get in
@require_safe
def redirect_view(request: HttpRequest, slug: str) -> HttpResponse:
    """Answer `GET /<slug>` as the front door does: 302, 410 or 404.

    Raises Unavailable (503) while nobody knows, TooManyRequests (429) for too many slugs that are not there.
    """
    guesses = Guesses(request)
    found = redirect_read.reads.resolve(slug, before_loading=guesses.before_loading) if is_slug(slug) else None
    if found is None:
        guesses.not_found()
        return as_django(request, page(404))
    return django_response(request, redirect_read, found)
