"""All settings, read once from the environment (and `NAME_FILE` for secrets), documented in `.env.example`.

An unset value is safe for development only where it cannot be mistaken for production; `manage.py check --deploy` and
start-up checks (`linklayer/checks.py`) name what production still lacks.
"""

import ipaddress
import os
from pathlib import Path
from typing import Any

import environ

env = environ.FileAwareEnv()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("LINKLAYER_VAR", str(BASE_DIR / "var")))

# True only under `make run`: the servers are ours, on loopback, and the brief's curl lines work without a key.
EMBEDDED = env.bool("LINKLAYER_EMBEDDED", False)
DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
PORT = env.int("PORT", 3000)
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[PUBLIC_URL] if PUBLIC_URL else [])
TRUSTED_PROXIES = [ipaddress.ip_network(network) for network in env.list("TRUSTED_PROXIES", default=[])]
# Behind a proxy that ends TLS; believed only from TRUSTED_PROXIES (linklayer/client_address.py).
HTTPS_ONLY = env.bool("HTTPS_ONLY", PUBLIC_URL.startswith("https://"))
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
SESSION_COOKIE_AGE = 12 * 3600

ROOT_URLCONF = "linklayer.urls"
WSGI_APPLICATION = "linklayer.wsgi.application"
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "linklayer",
    "webhooks",
    "analytics",
    "shortlinks",
    "profiles",
]

# Short on purpose: each entry costs every request of the Django lane.
MIDDLEWARE = [
    "linklayer.middleware.ClientAddressMiddleware",  # who asks: limits and clicks need it
    "linklayer.middleware.AnswerHeadersMiddleware",  # the security headers that the front door sends too
    "whitenoise.middleware.WhiteNoiseMiddleware",  # static files without a second server
    "linklayer.middleware.EncodingMiddleware",  # brotli and gzip, by the front door's encoder
    "linklayer.middleware.HostCheckMiddleware",  # a wrong Host is refused before any view believes it
    "linklayer.problems.LinkLayerErrorMiddleware",  # our errors as answers, also from plain views
    "django.contrib.sessions.middleware.SessionMiddleware",  # lazy: only the admin and the home page read it
    "django.middleware.csrf.CsrfViewMiddleware",  # forms of the home page and the admin; the API has no cookies
    "django.contrib.auth.middleware.AuthenticationMiddleware",  # lazy
    "django.contrib.messages.middleware.MessageMiddleware",  # the admin cannot do without
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- PostgreSQL. A thread keeps its connection; processes x threads bounds them.
DATABASES: dict[str, Any] = {"default": env.db("DATABASE_URL", default="postgres://linklayer@127.0.0.1:5432/linklayer")}
DATABASES["default"]["ENGINE"] = "linklayer.database"  # Django's, with an end to every wait
DATABASES["default"]["CONN_MAX_AGE"] = 600
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASE_STATEMENT_TIMEOUT_MS = env.int("DATABASE_STATEMENT_TIMEOUT_MS", 10_000)
# Ours, for a server that is frozen and does not see to its own; 0 there means: no end.
DATABASE_PATIENCE_SECONDS = DATABASE_STATEMENT_TIMEOUT_MS / 1000 + 2 if DATABASE_STATEMENT_TIMEOUT_MS else 3600.0
DATABASES["default"].setdefault("OPTIONS", {}).update(
    connect_timeout=2,  # libpq's minimum, seconds
    options=(
        f"-c statement_timeout={DATABASE_STATEMENT_TIMEOUT_MS}"
        f" -c lock_timeout={env.int('DATABASE_LOCK_TIMEOUT_MS', 2_000)}"
        " -c idle_in_transaction_session_timeout=10000"
    ),
)

# --- Redis or Valkey: the cache. 100 ms: a frozen server must not hold a visitor.
REDIS_URL = env.str("REDIS_URL", "redis://127.0.0.1:6379/0")
CACHE_PREFIX = env.str("CACHE_PREFIX", "ll")
DJANGO_THREADS = env.int("DJANGO_THREADS", 10)
REDIS_TIMEOUT_SECONDS = env.float("REDIS_TIMEOUT_SECONDS", 0.1)
_REDIS_OPTIONS: dict[str, Any] = {
    "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_SECONDS,
    "SOCKET_TIMEOUT": REDIS_TIMEOUT_SECONDS,
    "CONNECTION_POOL_KWARGS": {"max_connections": DJANGO_THREADS + 6, "health_check_interval": 30},
}
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"{CACHE_PREFIX}-misc",
        "OPTIONS": {**_REDIS_OPTIONS, "SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
    },
    "reads": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": CACHE_PREFIX,
        "TIMEOUT": None,
        "OPTIONS": {**_REDIS_OPTIONS, "SERIALIZER": "linklayer.tier2.EnvelopeSerializer"},
    },
}
WEB_CONCURRENCY = env.int("WEB_CONCURRENCY", os.cpu_count() or 1)
# Loads of one kind at once per process. A third of the threads: links, usernames and profiles, which visitors wait for,
# leave one free however slow PostgreSQL is.
LOADS_AT_ONCE = env.int("LOADS_AT_ONCE", max(1, DJANGO_THREADS // 3))
TIER1_ENTRIES = env.int("TIER1_ENTRIES", 100_000)

# --- The broker: amqp:// in production, redis+socket:// or redis:// (a server of its own) in embedded mode.
AMQP_URL = env.str("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")

# --- Registries: what the base calls upward, by dotted name.
PUBLIC_READS = ["shortlinks.resolver.redirect_read", "profiles.resolver.profile_read", "profiles.resolver.page_read"]
CACHE_WARMERS = ["shortlinks.resolver.warm", "profiles.resolver.warm"]
EVENT_HANDLERS = ["profiles.handlers.handlers"]
HEALTH_CHECKS: list[str] = []  # callables () -> dict shown in /health; "degraded": True lowers the status
ANNOUNCEMENT_SWEEPERS = ["profiles.handlers.announcement_sweepers"]
DEMO_DATA = ["profiles.demo.create_demo_profile", "shortlinks.demo.create_demo_links"]

# --- Clicks
SPOOL_DIR = Path(env.str("SPOOL_DIR", str(VAR_DIR / "spool")))
SPOOL_MAX_BYTES = env.int("SPOOL_MAX_BYTES", 1 << 30)
CLICK_ADDRESS = env.str("CLICK_ADDRESS", "truncated")  # truncated, none or full
CLICK_RETENTION_DAYS = env.int("CLICK_RETENTION_DAYS", 90)
GEOIP_DB = env.str("GEOIP_DB", "")
RESPECT_GPC = env.bool("RESPECT_GPC", True)
RESPECT_DNT = env.bool("RESPECT_DNT", False)

# --- Limits
RATELIMIT_ENABLE = env.bool("RATELIMIT_ENABLE", True)
ANONYMOUS_WRITE_RATE = env.str("ANONYMOUS_WRITE_RATE", "10/m")
NOT_FOUND_RATE = env.str("NOT_FOUND_RATE", "60/m")
API_BODY_BYTES = 64 * 1024
WEBHOOK_BODY_BYTES = 256 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200

# --- Linktree (contract section 11.1)
LINKTREE_BASE_URL = env.str("LINKTREE_BASE_URL", "")
LINKTREE_API_KEY = env.str("LINKTREE_API_KEY", "")
LINKTREE_API_TOKEN = env.str("LINKTREE_API_TOKEN", "")
LINKTREE_PROFILE_ID = env.str("LINKTREE_PROFILE_ID", "")
LINKTREE_WEBHOOK_SECRET = env.str("LINKTREE_WEBHOOK_SECRET", "")
LINKTREE_WEBHOOK_SECRET_PREVIOUS = env.str("LINKTREE_WEBHOOK_SECRET_PREVIOUS", "")
LINKTREE_WEBHOOK_TOLERANCE_SECONDS = env.int("LINKTREE_WEBHOOK_TOLERANCE_SECONDS", 300)
LINKTREE_READ_ONLY = env.bool("LINKTREE_READ_ONLY", False)

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["linklayer.parsers.StrictJSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["linklayer.keys.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "EXCEPTION_HANDLER": "linklayer.problems.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Link Layer",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Compressing takes 40 s of CPU time; in embedded mode nobody would gain by it, and everybody would wait.
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
        if EMBEDDED
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
PROMETHEUS_MULTIPROC_DIR = env.str("PROMETHEUS_MULTIPROC_DIR", "")
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
LOGIN_URL = "/admin/login/"
LOG_LEVEL = env.str("LOG_LEVEL", "info").upper()
LOGGING_CONFIG = "linklayer.logs.configure"
LOGGING = {"version": 1}  # Django calls LOGGING_CONFIG only if this is not empty
SILENCED_SYSTEM_CHECKS: list[str] = []
