"""Short links to try at once after `make run`."""

from linklayer.errors import Conflict
from shortlinks.services import create_short_link

DEMO_LINKS = {
    "hello": "https://www.python.org/",
    "django": "https://docs.djangoproject.com/en/5.2/",
    "postgres": "https://www.postgresql.org/docs/",
    "rabbitmq": "https://www.rabbitmq.com/docs",
    "celery": "https://docs.celeryq.dev/en/stable/",
}


def create_demo_links() -> str:
    """Make the demo links that are missing; say in one line how many there are."""
    for slug, url in DEMO_LINKS.items():
        try:
            create_short_link(slug=slug, url=url, is_anonymous=True)
        except Conflict:
            continue  # from an earlier run, perhaps edited since: it stays as it is
    return f"{len(DEMO_LINKS)} short links: {', '.join(f'/{slug}' for slug in DEMO_LINKS)}"
