"""The public address of a short link."""

from django.conf import settings
from django.http import HttpRequest


def short_url(request: HttpRequest, slug: str) -> str:
    """Return the absolute short URL: below PUBLIC_URL if it is set, else below the address that was asked."""
    base = settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
    return f"{base}/{slug}"
