from django.apps import AppConfig


class LinklayerConfig(AppConfig):
    name = "linklayer"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from linklayer import checks, schema  # noqa: F401 - registers the system checks and the OpenAPI extension
