"""The data file, and what it must lead to: which sockets and webhooks are owed which event. Pure functions of the file."""

import json
from dataclasses import dataclass
from typing import Any, Optional, Sequence

EPHEMERAL = ("chat.typing", "ping", "pong")
# What Jackfield itself publishes; no line of the file has these types.
OWN = ("agent.presence.", "webhook.", "plugin.failed")


class BadFile(Exception):
    pass


@dataclass(frozen=True)
class Event:
    at_s: float
    tenant: str
    id: str
    type: str
    user_id: Optional[str]
    lane: tuple         # events of one lane are published one after the other
    body: bytes         # what is posted
    data_text: str      # the bytes of `data`, which must come out as they went in
    data: Any


def read(path):
    events, seen = [], set()
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = json.loads(line)
                event = to_event(entry)
            except (ValueError, KeyError, TypeError) as error:
                raise BadFile(f"{path}, line {number}: {type(error).__name__}: {error}") from error
            if event.id in seen:
                raise BadFile(f"{path}, line {number}: id {event.id} is used twice")
            seen.add(event.id)
            events.append(event)
    if not events:
        raise BadFile(f"{path} has no events")
    return sorted(events, key=lambda event: event.at_s)


def to_event(entry):
    published = entry["event"]
    tenant, id_ = entry["tenant"], published["id"]
    order = published.get("key") or published.get("session_id") or id_
    return Event(float(entry["at_s"]), tenant, id_, published["type"], published.get("user_id"), (tenant, order),
                 compact(published).encode(), compact(published.get("data")), published.get("data"))


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def tenants(events):
    """Tenants in the order of their number of events, most first."""
    counts = {}
    for event in events:
        counts[event.tenant] = counts.get(event.tenant, 0) + 1
    return sorted(counts, key=lambda tenant: -counts[tenant])


def most_addressed_user(events, tenant):
    """The user with most direct events: whom the demo connects as."""
    counts = {}
    for event in events:
        if event.tenant == tenant and event.user_id:
            counts[event.user_id] = counts.get(event.user_id, 0) + 1
    return max(counts, key=lambda user: (counts[user], user), default="agent-1")


def is_own(event_type):
    return event_type.startswith(OWN)


def matches(pattern, event_type):
    if pattern.endswith(".*"):
        return event_type.startswith(pattern[:-1])
    return pattern in ("*", event_type)


def webhook_is_owed(patterns: Sequence[str], event):
    if event.type in EPHEMERAL:
        return event.type in patterns
    return any(matches(pattern, event.type) for pattern in patterns)


def socket_sees(tenant, user, patterns, event):
    return (event.tenant == tenant and event.user_id in (None, user)
            and any(matches(pattern, event.type) for pattern in patterns))
