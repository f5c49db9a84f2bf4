"""A request in, an answer out: the order of checks of section 5.3, and the faults around it."""

import email.utils
import json
import math
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from profiles.simulator import faults, routes
from profiles.simulator.answers import ApiError, Json, Reply, invalid_fields
from profiles.simulator.calls import Call
from profiles.simulator.clock import SimulatorClock
from profiles.simulator.idempotency import IdempotencyKeys
from profiles.simulator.limits import RateLimits, rate_limited
from profiles.simulator.profile_endpoints import refuse_free_plan
from profiles.simulator.seed import seed
from profiles.simulator.sender import WebhookSender
from profiles.simulator.world import Token, World

BODY_MAX_BYTES = 64 * 1024
LOGGED_REQUESTS = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """headers: names in lower case. body: None when it was larger than 64 KiB and was not read."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    address: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(slots=True)
class Outcome:
    """The answer and how the wire must treat it. wire: names of network faults, with their numbers."""

    reply: Reply
    wire: dict[str, float | None] = field(default_factory=dict)


class Simulator:
    """All parts of the simulator behind one door. Handles one request at a time; only the wire is concurrent."""

    def __init__(
        self, clock: SimulatorClock, sender: WebhookSender, *, state_path: Path | None = None, limit_scale: float = 1.0
    ) -> None:
        self.clock = clock
        self.sender = sender
        self.faults = sender.faults
        self._state_path = state_path
        self._limit_scale = limit_scale
        self._lock = threading.Lock()
        self.requests: list[Json] = []
        self.start_over(keep_state=True)

    def start_over(self, *, keep_state: bool = False) -> None:
        """Return to the seeded data; with keep_state, to the data of the state file where there is one."""
        self.world = World(self.clock)
        self.limits = RateLimits(self.clock, scale=self._limit_scale)
        self.idempotency = IdempotencyKeys(self.clock)
        self.requests.clear()
        self._v2_on = False
        if keep_state and self._state_path is not None and self._state_path.exists():
            self.world.load(self._state_path)
        else:
            seed(self.world)

    def handle(self, request: Request) -> Outcome:
        """Answer one request; never raises."""
        request_id = request.headers.get("x-request-id", "")[:100] or uuid.uuid4().hex
        with self._lock:
            outcome = self._answer_with_faults(request)
            self._log(request, outcome)
            for event in self.world.take_events():
                self.sender.enqueue(event, list(self.world.subscriptions.values()))
            if self._state_path is not None and request.method != "GET":
                self.world.save(self._state_path)
        outcome.reply.headers.setdefault("Content-Type", "application/json; charset=utf-8")
        outcome.reply.headers["X-Linktree-Api-Version"] = "v1"
        outcome.reply.headers["X-Request-Id"] = request_id
        return outcome

    def _answer_with_faults(self, request: Request) -> Outcome:
        try:
            named = [faults.Fault.parse(request.headers["x-sim-fault"])] if "x-sim-fault" in request.headers else []
        except ApiError as error:
            return Outcome(error.reply())
        active = named + self.faults.for_request(request.method, request.path)
        for fault in active:
            self._change_state(request, fault)
        reply = self._answer(request, active)
        for fault in active:
            reply = _bent(reply, fault)
        return Outcome(reply, {fault.name: fault.number for fault in active})

    def _answer(self, request: Request, active: list[faults.Fault]) -> Reply:
        rate_headers: dict[str, str] = {}
        try:
            reply = self._checked(request, active, rate_headers)
        except ApiError as error:
            reply = error.reply()
        reply.headers = {**rate_headers, **reply.headers}
        return reply

    def _checked(self, request: Request, active: list[faults.Fault], rate_headers: dict[str, str]) -> Reply:
        """Run the checks in the contract's order; each raises its own error."""
        match = routes.find(request.method, unquote(request.path), v2=self._v2_on)
        self.limits.take_address(request.address)
        if match is not None and match.route is not None and match.route.is_open:
            return self._open_answer(match.route, active)
        token = self._token(request)
        limit_class = match.route.limit_class if match is not None and match.route is not None else None
        rate_headers.update(self.limits.take(token.value, limit_class))
        for fault in active:
            self._refuse_by_fault(fault)
        route = routes.refuse_unmatched(match)
        _refuse_scope(route, token)
        call = Call(
            world=self.world,
            token=token,
            params=match.params if match is not None else {},
            query=dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True)),
            body={},
            faults=frozenset(fault.name for fault in active),
        )
        if route.needs_plan:
            refuse_free_plan(call)
        if route.takes_body:
            call.body = _json_object(request)
        return self._once(request, route, call)

    def _open_answer(self, route: routes.Route, active: list[faults.Fault]) -> Reply:
        if any(fault.name == "status" for fault in active):
            return Reply(503, {"status": "unavailable"})
        nobody = Token("", "", "", [], "")
        return route.endpoint(Call(self.world, nobody, {}, {}, {}))

    def _once(self, request: Request, route: routes.Route, call: Call) -> Reply:
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        body = request.body or b""
        if key is None:
            return route.endpoint(call)
        replayed = self.idempotency.replay(call.token.value, request.path, key, body)
        if replayed is not None:
            return replayed
        try:
            reply = route.endpoint(call)
        except ApiError as error:
            reply = error.reply()
        self.idempotency.store(call.token.value, request.path, key, body, reply)
        return reply

    def _token(self, request: Request) -> Token:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = self.world.tokens.get(value) if scheme.lower() == "bearer" else None
        if token is None or (token.expires_at is not None and self.clock() >= token.expires_at):
            raise ApiError(
                401, "UNAUTHORIZED", "A valid bearer token is required", headers={"WWW-Authenticate": "Bearer"}
            )
        return token

    def _change_state(self, request: Request, fault: faults.Fault) -> None:
        """Apply a fault that changes the world itself rather than this one answer."""
        value = request.headers.get("authorization", "").partition(" ")[2]
        token = self.world.tokens.get(value)
        if fault.name == "expire-token" and token is not None:
            token.expires_at = self.clock()
        elif fault.name == "downgrade-plan" and token is not None:
            token.plan = "free"
        elif fault.name == "clock-skew":
            self.clock.advance(fault.number or 0.0)
        elif fault.name == "v2-on":
            self._v2_on = True

    def _refuse_by_fault(self, fault: faults.Fault) -> None:
        error = faults.refusal(fault)
        if error is not None:
            raise error
        if not fault.name.startswith("429"):
            return
        seconds = math.ceil(2 if fault.number is None else fault.number)
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(math.ceil(self.clock()) + seconds)}
        if fault.name in {"429", "429-ip"}:
            headers["Retry-After"] = str(seconds)
        if fault.name == "429-http-date":
            headers["Retry-After"] = email.utils.formatdate(self.clock() + seconds, usegmt=True)
        raise rate_limited(headers)

    def _log(self, request: Request, outcome: Outcome) -> None:
        self.requests.append({
            "method": request.method, "path": request.path, "status": outcome.reply.status, "at": self.clock(),
        })  # fmt: skip
        del self.requests[:-LOGGED_REQUESTS]

    def control(self, method: str, path: str, body: Json) -> Reply:
        """Answer `/__sim__/...`: faults, clock, reset, and what was seen and sent. Never rate-limited."""
        actions: dict[tuple[str, str], Callable[[], Any]] = {
            ("POST", "/__sim__/faults"): lambda: self.faults.add(body),
            ("DELETE", "/__sim__/faults"): self.faults.clear,
            ("POST", "/__sim__/clock"): lambda: self.clock.advance(_number(body, "advance_seconds")),
            ("POST", "/__sim__/reset"): self._reset,
            ("GET", "/__sim__/requests"): lambda: {"data": list(self.requests)},
            ("GET", "/__sim__/deliveries"): lambda: {"data": self.sender.log()},
        }
        action = actions.get((method, path))
        if action is None:
            return Reply(404, {"error": {"code": "ROUTE_NOT_FOUND", "message": "No such control"}})
        try:
            with self._lock:
                result = action()
        except ApiError as error:
            return error.reply()
        return Reply(200, result or {"ok": True})

    def _reset(self) -> None:
        self.start_over()
        self.faults.clear()


def _refuse_scope(route: routes.Route, token: Token) -> None:
    held = set(token.scopes)
    if route.scopes and not any(needed <= held for needed in route.scopes):
        raise ApiError(403, "INSUFFICIENT_SCOPE", "The token lacks a scope for this")


def _json_object(request: Request) -> Json:
    """Return the body as an object; raises 415, 413 or 400."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.body != b"" and kind != "application/json":
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be application/json")
    if request.body is None:
        raise ApiError(413, "PAYLOAD_TOO_LARGE", "The body must have at most 64 KiB")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "INVALID_JSON", "The body is not valid JSON") from error
    if not isinstance(body, dict):
        raise ApiError(400, "INVALID_JSON", "The body must be a JSON object")
    return body


def _bent(reply: Reply, fault: faults.Fault) -> Reply:
    """Return the answer as a body fault leaves it."""
    html = {"Content-Type": "text/html; charset=utf-8"}
    bent: dict[str, Callable[[], Reply]] = {
        "503-html": lambda: Reply(503, None, html, b"<html><body><h1>503 Service Unavailable</h1></body></html>"),
        "empty-200": lambda: Reply(200, None, reply.headers, b""),
        "wrong-content-type": lambda: Reply(reply.status, reply.body, {**reply.headers, **html}),
        "plain-error": lambda: Reply(500, {"error": "Something went wrong"}, reply.headers),
        "camel-case": lambda: Reply(reply.status, faults.camel_case(reply.body), reply.headers),
        "unknown-fields": lambda: Reply(reply.status, faults.with_unknown_fields(reply.body), reply.headers),
    }
    return bent.get(fault.name, lambda: reply)()


def _number(body: Json, name: str) -> float:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid_fields({name: ["must be a number"]})
    return float(value)
