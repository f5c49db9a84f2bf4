from django.apps import AppConfig


class ShortlinksConfig(AppConfig):
    name = "shortlinks"
    default_auto_field = "django.db.models.BigAutoField"
