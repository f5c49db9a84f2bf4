"""No reader who read before an edit and stores after it brings the old value back: in every order, and at random."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import combinations_with_replacement

import pytest
from django.core.cache import caches
from django.db import connection, transaction

from linklayer import tier2
from linklayer.cache import CachedReads, Lifetime, Loaded
from linklayer.errors import Unavailable
from linklayer.forgetting import current_version, forget_after_commit

pytestmark = pytest.mark.django_db(transaction=True)

LIFETIME = Lifetime(soft_seconds=60, serve_behind_seconds=120, hard_seconds=600, deadline_seconds=1)
MOMENTS = ("before the read", "between read and store", "after the store")
READERS = 8
EDITS = 150


@pytest.mark.parametrize(("commits", "forgets"), [*combinations_with_replacement(MOMENTS, 2)])
def test_a_reader_puts_no_old_value_back(commits: str, forgets: str) -> None:
    """The six orders of a reader's two steps and an editor's two steps."""
    row = 1

    def edit(moment: str) -> None:
        nonlocal row
        if commits == moment:
            row = 2
        if forgets == moment:
            tier2.forget("test:a", 2, keep_stale=False)

    def load(_key: str) -> Loaded:
        read = row
        edit("between read and store")
        return Loaded(read, f"version {read}")

    reads = CachedReads("test", LIFETIME, load)
    edit("before the read")
    reads.resolve("a")
    edit("after the store")
    found = reads.resolve("a")
    assert found is not None
    assert found.value == "version 2"


def test_who_asks_after_an_edit_never_sees_what_was_before_it() -> None:
    """Readers as in two processes and an editor, who sleep at random before and after each of their steps."""
    seen: list[tuple[int, int]] = []  # the version that was complete when a read began, and the version that it gave
    complete = 0
    is_over = threading.Event()

    def load(_key: str) -> Loaded:
        sleep_a_little()
        version = current_version("test:a")
        sleep_a_little()
        return Loaded(version, version)

    def read(reads: CachedReads) -> None:
        with connection_of_this_thread():
            while not is_over.is_set():
                then = complete
                found = reads.resolve("a")
                assert found is not None
                seen.append((then, found.value))
                sleep_a_little()

    processes = [CachedReads("test", LIFETIME, load) for _ in range(2)]
    with ThreadPoolExecutor(READERS) as threads:
        readers = [threads.submit(read, processes[number % 2]) for number in range(READERS)]
        try:
            for number in range(1, EDITS + 1):
                with transaction.atomic():
                    transaction.on_commit(sleep_a_little)  # between commit and forget
                    forget_after_commit("test:a")
                    sleep_a_little()
                complete = number
        finally:
            is_over.set()
        for reader in readers:
            reader.result()
    assert len(seen) > EDITS
    assert [pair for pair in seen if pair[1] < pair[0]] == []


def test_a_load_that_outlives_its_lock_does_not_release_the_next_one() -> None:
    lifetime = Lifetime(soft_seconds=60, serve_behind_seconds=120, hard_seconds=600, deadline_seconds=0.4)
    began, may_end = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
    numbers = iter(range(2))

    def load(_key: str) -> Loaded:
        number = next(numbers)  # a third load would be an error
        began[number].set()
        assert may_end[number].wait(10)
        return Loaded(number + 1, f"load {number}")

    late, next_one, third = (CachedReads("test", lifetime, load) for _ in range(3))
    with ThreadPoolExecutor(2) as threads:
        outlived = threads.submit(late.resolve, "a")
        assert began[0].wait(5)
        time.sleep(2.2 * lifetime.deadline_seconds)  # the lock lasts two deadlines
        current = threads.submit(next_one.resolve, "a")
        assert began[1].wait(5)
        may_end[0].set()
        outlived.result(5)
        caches[tier2.ALIAS].delete("test:a")  # what it stored would do for the third
        with pytest.raises(Unavailable):
            third.resolve("a")
        may_end[1].set()
        current.result(5)


def sleep_a_little() -> None:
    time.sleep(random.uniform(0, 0.004))


@contextmanager
def connection_of_this_thread() -> Iterator[None]:
    try:
        yield
    finally:
        connection.close()
