"""A handler whose effect is the receipt's own state: done."""

from webhooks.contracts import EventHandler, InboundEvent


def _nothing(_event: InboundEvent) -> None:
    pass


handlers = {"test.effect": EventHandler(_nothing, _nothing)}
