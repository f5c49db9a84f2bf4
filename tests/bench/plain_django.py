"""A short link in plain Django, as most would write it: cache-aside with django-redis, PostgreSQL behind, a 302."""

import os

from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.plain_django_settings")


def redirect(request: HttpRequest, slug: str) -> HttpResponseRedirect:
    key = f"slug:{slug}"
    destination = cache.get(key)
    if destination is None:
        destination = _destination(slug)
        cache.set(key, destination)
    response = HttpResponseRedirect(destination)
    response["Content-Length"] = "0"  # or gunicorn would send chunks, for there is no CommonMiddleware
    return response


def _destination(slug: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT destination FROM shortlinks_shortlink WHERE slug = %s", [slug])
        row = cursor.fetchone()
    if row is None:
        raise Http404(slug)
    return str(row[0])


urlpatterns = [path("<str:slug>", redirect)]
application = get_wsgi_application()
