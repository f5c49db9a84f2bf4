"""The small pages that stand where no short link does: one look, one body per status, the same for everybody."""

from functools import cache

from django.template.loader import render_to_string

from linklayer.public_reads import Answer

# Our pages load nothing from elsewhere and run nothing but their own file.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@cache
def page(status: int) -> Answer:
    """Return the page of a status: 404 nothing here, 410 ended."""
    body = render_to_string(f"{status}.html").encode()
    headers = (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "private, max-age=0"),
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("X-Robots-Tag", "noindex"),
    )
    return Answer(status, headers, body)
