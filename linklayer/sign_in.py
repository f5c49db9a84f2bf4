"""The admin's sign-in, limited per client address: each try costs a slow hash, and a guesser has many tries."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from linklayer.ratelimits import check_rate

SIGN_IN_RATE = "10/m"


def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the admin's own page. Raises TooManyRequests after ten tries a minute."""
    if request.method == "POST":
        check_rate(request, group="sign-in", rate=SIGN_IN_RATE)
    return admin.site.login(request)
