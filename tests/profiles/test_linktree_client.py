"""The client and the simulator agree (contract sections 12.1 and 12.2), with the client's time in the test's hands."""

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from profiles.linktree import LinktreeClient
from profiles.linktree.client import normalised_base_url
from profiles.linktree.errors import (
    AuthError,
    BadResponse,
    CircuitOpen,
    InsufficientScope,
    LinktreeNotFound,
    LinktreeUnavailable,
    PlanRestricted,
    RateLimited,
    ReadOnly,
    ServerError,
    ThemeNotApplied,
    ValidationError,
)
from profiles.linktree.transport import NoAnswer
from profiles.linktree.wire import LINKS_MAX, read_profile
from profiles.simulator.answers import Json
from tests.profiles.conftest import FakeTime, Running

MakeClient = Callable[..., LinktreeClient]


@pytest.mark.parametrize("base", ["http://h", "http://h/", "http://h/v1", "http://h/v1/"])
def test_every_spelling_of_the_base_url_means_version_1(base: str) -> None:  # case 9
    assert normalised_base_url(base) == "http://h/v1"


def test_a_profile_is_read_whole(client_of_linktree: LinktreeClient) -> None:
    profile = client_of_linktree.get_profile("JaneDoe")
    assert (profile.id, profile.username, len(profile.links)) == ("prof_1", "janedoe", 3)
    assert [link.is_enabled for link in profile.links] == [True, True, False]


@pytest.mark.parametrize("fault", ["camel-case", "unknown-fields"])
def test_other_spellings_and_unknown_fields_make_the_same_profile(  # case 45
    simulator: Running, client_of_linktree: LinktreeClient, fault: str
) -> None:
    plain = client_of_linktree.get_own_profile()
    simulator.fault(fault)
    bent = client_of_linktree.get_own_profile()
    assert (bent.links, bent.display_name, bent.updated_at) == (plain.links, plain.display_name, plain.updated_at)


@pytest.mark.parametrize("ref", ["", ".", "..", "a/b", "nobody"])
def test_what_is_no_profile_is_not_found(client_of_linktree: LinktreeClient, ref: str) -> None:
    with pytest.raises(LinktreeNotFound):
        client_of_linktree.get_profile(ref)


def test_a_new_credential_is_used_after_a_401(simulator: Running, make_client: MakeClient) -> None:  # case 7
    tokens = iter(["lt_test_full", "lt_test_next"])
    client = make_client(lambda: next(tokens))
    simulator.fault("expire-token")
    assert client.get_own_profile().username == "janedoe"
    assert len(simulator.seen) == 2


def test_the_same_credential_is_not_tried_twice(simulator: Running, make_client: MakeClient) -> None:  # case 8
    client = make_client("lt_test_wrong")
    with pytest.raises(AuthError):
        client.get_own_profile()
    assert (len(simulator.seen), client.is_failing) == (1, False)


def test_all_links_are_listed_over_pages(simulator: Running, client_of_linktree: LinktreeClient) -> None:  # case 11
    world = simulator.simulator.world
    for number in range(247):
        link = type(world.links["lnk_1"])(f"lnk_x{number}", "prof_1", "T", f"https://example.com/{number}")
        world.links[link.id] = link
        world.profiles["prof_1"].link_ids.append(link.id)
    assert len({link.id for link in client_of_linktree.list_links("prof_1", page_size=500)}) == 250
    assert simulator.seen == ["GET /v1/links"] * 3


def test_a_cursor_that_repeats_ends_in_an_error(  # case 13
    simulator: Running, client_of_linktree: LinktreeClient
) -> None:
    simulator.fault("cursor-loop", times=9)
    with pytest.raises(BadResponse):
        list(client_of_linktree.list_links("prof_1"))
    assert len(simulator.seen) == 2


def test_a_url_that_exists_becomes_an_update(simulator: Running, client_of_linktree: LinktreeClient) -> None:  # case 16
    link = client_of_linktree.create_link("prof_1", title="Again", url="https://EXAMPLE.com/")
    assert (link.id, link.title) == ("lnk_1", "Again")


@pytest.mark.parametrize("url", ["mailto:a@b.c", "javascript:alert(1)", "example.com", "https://x.com/" + "y" * 2048])
def test_a_url_that_linktree_would_refuse_is_not_sent(  # case 17
    simulator: Running, client_of_linktree: LinktreeClient, url: str
) -> None:
    with pytest.raises(ValidationError):
        client_of_linktree.create_link("prof_1", title="T", url=url)
    assert simulator.seen == []


def test_a_title_is_sent_without_tags(client_of_linktree: LinktreeClient) -> None:
    assert client_of_linktree.update_link("lnk_1", title=" <b>Bold</b> ").title == "Bold"


def test_deleting_twice_is_deleting_once(client_of_linktree: LinktreeClient) -> None:  # case 23
    client_of_linktree.delete_link("lnk_2")
    client_of_linktree.delete_link("lnk_2")
    assert [link.id for link in client_of_linktree.get_own_profile().links] == ["lnk_1", "lnk_3"]


def test_links_are_reordered(client_of_linktree: LinktreeClient) -> None:
    client_of_linktree.reorder_links("prof_1", ["lnk_3", "lnk_1", "lnk_2"])
    assert [link.id for link in client_of_linktree.get_own_profile().links] == ["lnk_3", "lnk_1", "lnk_2"]


def test_a_bulk_update_goes_out_in_tens_and_names_what_failed(  # case 26
    simulator: Running, client_of_linktree: LinktreeClient
) -> None:
    changes: list[Json] = [{"id": "lnk_1", "title": f"T{number}"} for number in range(11)]
    changes[10] = {"id": "lnk_unknown", "title": "x"}
    result = client_of_linktree.patch_links("prof_1", changes)
    assert len(result.links) == 10
    assert [(error.index, error.id, error.code) for error in result.errors] == [(10, "lnk_unknown", "LINK_NOT_FOUND")]
    assert len(simulator.seen) == 2


def test_a_no_after_the_first_ten_is_reported_and_hides_nothing(make_client: MakeClient) -> None:
    tokens = iter(["lt_test_full", "lt_test_readonly"])
    changes: list[Json] = [{"id": "lnk_1", "title": f"T{number}"} for number in range(11)]
    result = make_client(lambda: next(tokens)).patch_links("prof_1", changes)
    assert len(result.links) == 10
    assert [(error.index, error.code) for error in result.errors] == [(10, "INSUFFICIENT_SCOPE")]


@pytest.mark.parametrize("answer", [None, {}, [], {"data": []}, {"data": 5}, {"data": {"id": "lnk_1"}}, {"data": [5]}])
def test_a_bulk_answer_that_says_nothing_is_no_answer(
    client_of_linktree: LinktreeClient, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(client_of_linktree._caller, "call", lambda *_, **__: answer)
    with pytest.raises(BadResponse):
        client_of_linktree.patch_links("prof_1", [{"id": "lnk_1", "title": "T"}])


def test_of_an_endless_profile_the_first_links_are_read() -> None:
    links = [{"id": number} for number in range(LINKS_MAX + 1)]
    assert len(read_profile({"id": "prof_1", "links": links}).links) == LINKS_MAX


def test_one_attempt_has_ten_seconds_however_large_the_budget(
    client_of_linktree: LinktreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:  # case 44
    timeouts: list[float] = []

    def exchange(*_: Any, timeout_seconds: float) -> NoReturn:
        timeouts.append(timeout_seconds)
        raise NoAnswer("too slow", was_sent=True)

    monkeypatch.setattr(client_of_linktree._transport, "exchange", exchange)
    with pytest.raises(LinktreeUnavailable):
        client_of_linktree.get_profile("janedoe", budget_seconds=40)
    assert timeouts == [10] * 4


def test_a_theme_that_was_not_applied_is_noticed(client_of_linktree: LinktreeClient) -> None:  # case 27
    with pytest.raises(ThemeNotApplied):
        client_of_linktree.update_profile("prof_1", {"theme": {"id": "nope"}})
    assert client_of_linktree.update_profile("prof_1", {"theme": {"id": "lake"}}).theme["id"] == "lake"


def test_a_missing_scope_and_a_small_plan_are_different_errors(make_client: MakeClient) -> None:  # case 28
    with pytest.raises(InsufficientScope):
        make_client("lt_test_readonly").update_link("lnk_1", title="x")
    with pytest.raises(PlanRestricted):
        make_client("lt_test_free").update_profile("prof_2", {"bio": "x"})


@pytest.mark.parametrize("fault", ["429:2", "429-http-date:2", "429-no-retry-after:2"])
def test_a_429_is_waited_out_as_asked(  # cases 37, 38
    simulator: Running, client_of_linktree: LinktreeClient, fake_time: FakeTime, fault: str
) -> None:
    simulator.set_clock(fake_time.seconds)
    simulator.fault(fault)
    assert client_of_linktree.get_own_profile().username == "janedoe"
    assert 2 <= sum(fake_time.slept) <= 5
    assert len(simulator.seen) == 2


def test_a_long_429_is_raised_and_not_slept(  # case 38
    simulator: Running, client_of_linktree: LinktreeClient, fake_time: FakeTime
) -> None:
    simulator.fault("429:3600")
    with pytest.raises(RateLimited) as caught:
        client_of_linktree.get_own_profile()
    assert (caught.value.retry_after_seconds, fake_time.slept) == (3600, [])


def test_a_single_500_is_tried_again_and_four_are_an_error(  # case 39
    simulator: Running, client_of_linktree: LinktreeClient, fake_time: FakeTime
) -> None:
    simulator.fault("500-once")
    assert client_of_linktree.get_own_profile().username == "janedoe"
    simulator.fault("status:500", times=4)
    with pytest.raises(ServerError):
        client_of_linktree.get_own_profile()
    assert len(simulator.seen) == 6
    assert fake_time.slept == [0.75, 0.75, 1.5, 3.0]


def test_a_write_that_was_cut_off_happens_once(
    simulator: Running, client_of_linktree: LinktreeClient
) -> None:  # case 40
    simulator.fault("commit-then-drop", method="POST")
    link = client_of_linktree.create_link("prof_1", title="Once", url="https://once.com/")
    titles = [held.title for held in client_of_linktree.get_own_profile().links]
    assert (link.title, titles.count("Once")) == ("Once", 1)


@pytest.mark.parametrize("fault", ["503-html", "truncate", "reset", "empty-200"])
def test_garbage_is_a_typed_error(
    simulator: Running, client_of_linktree: LinktreeClient, fault: str
) -> None:  # case 43
    simulator.fault(fault, times=9)
    with pytest.raises(LinktreeUnavailable):
        client_of_linktree.get_own_profile()


def test_an_answer_of_another_content_type_is_read(simulator: Running, client_of_linktree: LinktreeClient) -> None:
    simulator.fault("wrong-content-type")
    assert client_of_linktree.get_own_profile().username == "janedoe"


def test_a_plain_error_is_a_typed_error(simulator: Running, client_of_linktree: LinktreeClient) -> None:
    simulator.fault("plain-error", times=9)
    with pytest.raises(ServerError, match="Something went wrong"):
        client_of_linktree.get_own_profile()


@pytest.mark.parametrize("fault", ["slow:3", "drip"])
def test_the_budget_bounds_a_slow_answer(simulator: Running, client_of_linktree: LinktreeClient, fault: str) -> None:
    simulator.fault(fault)
    with pytest.raises(LinktreeUnavailable):
        client_of_linktree.get_profile("janedoe", budget_seconds=0.3, max_attempts=1)


def test_the_breaker_opens_after_five_failures_and_one_probe_closes_it(  # case 42
    simulator: Running, client_of_linktree: LinktreeClient, fake_time: FakeTime
) -> None:
    simulator.fault("reset", times=5)
    for _ in range(5):
        with pytest.raises(LinktreeUnavailable):
            client_of_linktree.get_profile("janedoe", max_attempts=1)
    with pytest.raises(CircuitOpen):
        client_of_linktree.get_profile("janedoe")
    assert len(simulator.seen) == 5
    fake_time.seconds += 30
    assert client_of_linktree.get_profile("janedoe").username == "janedoe"
    assert not client_of_linktree.is_failing


def test_a_404_never_opens_the_breaker(client_of_linktree: LinktreeClient) -> None:
    for _ in range(6):
        with pytest.raises(LinktreeNotFound):
            client_of_linktree.get_profile("nobody")
    assert not client_of_linktree.is_failing


def test_read_only_blocks_writes_before_any_request(simulator: Running, make_client: MakeClient) -> None:  # case 46
    client = make_client(read_only=True)
    writes: list[Callable[[], object]] = [
        lambda: client.create_link("prof_1", title="T", url="https://a.com"),
        lambda: client.update_link("lnk_1", title="T"),
        lambda: client.delete_link("lnk_1"),
        lambda: client.update_profile("prof_1", {"bio": "x"}),
        lambda: client.patch_links("prof_1", [{"id": "lnk_1", "title": "T"}]),
    ]
    for write in writes:
        with pytest.raises(ReadOnly):
            write()
    assert simulator.seen == []
    assert client.get_own_profile().username == "janedoe"


def test_our_own_quota_never_sends_more_than_thirty_writes_in_a_minute(  # case 47
    simulator: Running, client_of_linktree: LinktreeClient, fake_time: FakeTime
) -> None:
    simulator.set_clock(fake_time.seconds)
    fake_time.followers.append(simulator.set_clock)
    sent_at: list[float] = []
    for _ in range(70):
        client_of_linktree.update_link("lnk_1")
        sent_at.append(fake_time.seconds)
    assert max(sum(start <= at < start + 60 for at in sent_at) for start in sent_at) <= 30


def test_a_spent_quota_is_an_error_at_once_when_nobody_can_wait(
    client_of_linktree: LinktreeClient,
) -> None:
    for _ in range(10):
        client_of_linktree.get_profile("janedoe")
    with pytest.raises(RateLimited):
        client_of_linktree.get_profile("janedoe", budget_seconds=0.5)


def test_nothing_says_the_token(  # case 48
    client_of_linktree: LinktreeClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client_of_linktree.get_profile("janedoe")
        with pytest.raises(LinktreeNotFound) as caught:
            client_of_linktree.get_profile("nobody")
    said = f"{caplog.text} {client_of_linktree!r} {caught.value!r} {caught.value.__dict__}"
    assert "lt_test_full" not in said
