"""The plain Django that we measure ourselves against: one view, django-redis before PostgreSQL, nothing in between.

It has no middleware and counts no clicks, which flatters it.
"""

import environ

env = environ.Env()

SECRET_KEY = "plain-django-signs-nothing"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.bench.plain_django"
INSTALLED_APPS: list[str] = []
MIDDLEWARE: list[str] = []
DATABASES = {"default": env.db("DATABASE_URL")}
DATABASES["default"]["CONN_MAX_AGE"] = None
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": env.str("REDIS_URL"), "TIMEOUT": 3600}}
USE_TZ = True
