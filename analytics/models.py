"""Tables of the ledger. They hold plain ids: links and profiles belong to apps that this one does not know.

The rows of `Click` stand in daily partitions that retention drops; the aggregates stay. Everything here is written by
`services` (and the heartbeat) in SQL; Django reads.
"""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

from analytics import contracts


class Series(models.IntegerChoices):
    """What an aggregate counts, and so whose id its `subject_id` is."""

    LINK_CLICKS = contracts.Series.LINK_CLICKS, "clicks of a link"
    PROFILE_VIEWS = contracts.Series.PROFILE_VIEWS, "views of a profile"
    PROFILE_CLICKS = contracts.Series.PROFILE_CLICKS, "clicks on a profile"


class Click(models.Model):
    """One click or view. Partitioned by day of `time`; its SQL stands in the first migration.

    The id comes from a sequence and no index enforces it: (generation, sequence) is what names an event, and the batch
    id in `IngestedBatch` is what keeps it from being stored twice.
    """

    class Kind(models.IntegerChoices):
        CLICK = contracts.Kind.CLICK, "click"
        VIEW = contracts.Kind.VIEW, "view"

    id = models.BigIntegerField(primary_key=True)
    time = models.DateTimeField()
    batch = models.BigIntegerField(help_text="number of the ingested batch that brought it")
    generation = models.BigIntegerField()
    sequence = models.BigIntegerField()
    link_id = models.BigIntegerField(null=True)
    profile_id = models.BigIntegerField(null=True)
    slug_version = models.BigIntegerField()
    visitor = models.BigIntegerField(null=True, help_text="keyed by the day's salt; none when the visitor asked so")
    kind = models.SmallIntegerField(choices=Kind)
    is_bot = models.BooleanField()
    is_private = models.BooleanField()
    bot_kind = models.TextField()
    country = models.TextField()
    region = models.TextField()
    address = models.TextField()
    user_agent = models.TextField()
    browser = models.TextField()
    os = models.TextField()
    device = models.TextField()
    referrer = models.TextField()
    referrer_domain = models.TextField()
    language = models.TextField()
    query = models.TextField()
    utm_source = models.TextField()
    utm_medium = models.TextField()
    utm_campaign = models.TextField()

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.generation}/{self.sequence}"


class Total(models.Model):
    """All clicks or views of one subject since ever: the live number, at any length of history."""

    pk = models.CompositePrimaryKey("series", "subject_id")
    series = models.SmallIntegerField(choices=Series)
    subject_id = models.BigIntegerField()
    humans = models.BigIntegerField()
    bots = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.get_series_display()} {self.subject_id}: {self.humans} + {self.bots}"


class QuarterHour(models.Model):
    """Clicks or views of one subject in 15 minutes, the largest step that every timezone divides into."""

    pk = models.CompositePrimaryKey("series", "subject_id", "starts_at")
    series = models.SmallIntegerField(choices=Series)
    subject_id = models.BigIntegerField()
    starts_at = models.DateTimeField()
    humans = models.BigIntegerField()
    bots = models.BigIntegerField()

    class Meta:
        indexes = [BrinIndex(fields=["starts_at"], autosummarize=True, name="quarter_hour_starts_at")]

    def __str__(self) -> str:
        return f"{self.get_series_display()} {self.subject_id} {self.starts_at:%Y-%m-%d %H:%M}"


class DayDimension(models.Model):
    """Clicks or views of one subject and UTC day that share a value: country CH, browser Firefox."""

    pk = models.CompositePrimaryKey("series", "subject_id", "day", "dimension", "value")
    series = models.SmallIntegerField(choices=Series)
    subject_id = models.BigIntegerField()
    day = models.DateField()
    dimension = models.TextField()
    value = models.TextField()
    humans = models.BigIntegerField()
    bots = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.get_series_display()} {self.subject_id} {self.day}: {self.dimension} {self.value}"


class DayUniques(models.Model):
    """How many different human visitors a subject had on a UTC day; stays when DailyVisitor is pruned."""

    pk = models.CompositePrimaryKey("series", "subject_id", "day")
    series = models.SmallIntegerField(choices=Series)
    subject_id = models.BigIntegerField()
    day = models.DateField()
    visitors = models.BigIntegerField()

    class Meta:
        verbose_name_plural = "day uniques"

    def __str__(self) -> str:
        return f"{self.get_series_display()} {self.subject_id} {self.day}: {self.visitors}"


class DailyVisitor(models.Model):
    """A human visitor seen on a UTC day; pruned after it."""

    pk = models.CompositePrimaryKey("series", "subject_id", "day", "visitor")
    series = models.SmallIntegerField(choices=Series)
    subject_id = models.BigIntegerField()
    day = models.DateField()
    visitor = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.get_series_display()} {self.subject_id} {self.day}"


class IngestedBatch(models.Model):
    """A batch whose rows are stored: what makes a repeat harmless, and what lets the shipper delete.

    number: the order of roll-up, stored in each row of the batch.
    """

    id = models.UUIDField(primary_key=True)
    number = models.BigIntegerField(
        unique=True, db_default=models.Func(models.Value("analytics_batch_number"), function="nextval")
    )
    records = models.IntegerField()
    first_at = models.DateTimeField(null=True, help_text="time of its earliest row")
    last_at = models.DateTimeField(null=True, help_text="time of its latest row")
    stored_at = models.DateTimeField(db_default=Now())
    is_rolled_up = models.BooleanField(default=False)

    class Meta:
        indexes = [
            models.Index(fields=["number"], condition=models.Q(is_rolled_up=False), name="batch_to_roll_up"),
            models.Index(fields=["stored_at"], name="batch_stored_at"),
        ]
        verbose_name_plural = "ingested batches"

    def __str__(self) -> str:
        return f"{self.number}: {self.records} records"


class ProcessGeneration(models.Model):
    """One life of one recording process, in the ledger: accepted = stored + dead-lettered + in flight + dropped."""

    generation = models.BigIntegerField(primary_key=True)
    host = models.CharField(max_length=255, blank=True)
    pid = models.IntegerField(null=True, blank=True)
    accepted = models.BigIntegerField(default=0)
    ring = models.BigIntegerField(default=0)
    dropped = models.BigIntegerField(default=0)
    stored = models.BigIntegerField(default=0)
    dead_lettered = models.BigIntegerField(default=0)
    highest_sequence = models.BigIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.host or 'unknown host'} pid {self.pid}: {self.generation}"


class DailySalt(models.Model):
    """The key of a UTC day's visitor numbers; destroyed when the day is over."""

    day = models.DateField(primary_key=True)
    salt = models.BinaryField()

    def __str__(self) -> str:
        return str(self.day)
