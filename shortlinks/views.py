"""The redirect in plain Django, beside the front door: no DRF, no third party, no write."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from linklayer.public_reads import Answer, django_response
from shortlinks.pages import page
from shortlinks.resolver import redirect_read
from shortlinks.slugs import is_slug


@csrf_exempt  # only GET and HEAD get in
@require_safe
def redirect_view(request: HttpRequest, slug: str) -> HttpResponse:
    """Answer `GET /<slug>` as the front door does: 302, 410 or 404. Raises Unavailable (503) while nobody knows."""
    found = redirect_read.reads.resolve(slug) if is_slug(slug) else None
    return _response(page(404)) if found is None else django_response(request, redirect_read, found)


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
