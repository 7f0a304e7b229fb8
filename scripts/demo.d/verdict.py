"""What the receivers got against what they were owed: the table at the end, and the list of what is wrong.

Lost = expected − received: expected from the data file and the patterns, received from the receiver process and the
sockets. The server's own figures are used for one thing only, the filter's drops, which nobody else can see."""

from dataclasses import dataclass, field


@dataclass
class Column:
    """One tenant."""
    published: int = 0
    accepted: int = 0
    again: int = 0          # answered duplicate: the event was sent again after a lost answer
    frames: int = 0         # distinct (socket, event)
    frames_owed: int = 0
    delivered: int = 0      # distinct (webhook, event)
    delivered_owed: int = 0
    dropped: int = 0
    dropped_owed: int = 0
    retried: int = 0
    duplicates: int = 0
    leaked: int = 0
    unverified: int = 0
    lost: int = 0
    altered: int = 0
    problems: list = field(default_factory=list)


def judge(tenant, publisher, subscribers, hooks, records, counts, event_ids, drops):
    """`records`, `counts`: the receiver's; `event_ids`: hook name → delivery → event; `drops`: hook name → the server's number."""
    column = Column()
    events = [e for e in publisher.events if e.tenant == tenant]
    by_id = {e.id: e for e in publisher.events}
    column.published = len(events)
    for event in events:
        sent = publisher.sent.get(event.id)
        column.accepted += bool(sent and sent.accepted)
        column.again += bool(sent and sent.duplicate)
        if not sent or not sent.accepted:
            column.lost += 1
            column.problems.append(f"{event.id} ({event.type}) was not accepted: {sent and (sent.status, sent.why)}")
    for subscriber in subscribers:
        if subscriber.tenant == tenant:
            judge_socket(column, subscriber, publisher.sent)
    for hook in hooks:
        if hook.tenant == tenant:
            judge_hook(column, hook, by_id, records[hook.name], counts[hook.name], event_ids.get(hook.name, {}))
            judge_drops(column, hook, drops.get(hook.name))
    return column


def judge_socket(column, subscriber, sent):
    missing = subscriber.missing(sent)
    seen = len(subscriber.expected & subscriber.seen.keys())
    column.frames += seen
    column.frames_owed += seen + len(missing)
    column.lost += len(missing)
    column.leaked += len(subscriber.leaked)
    column.altered += len(subscriber.altered)
    for what, items in (("never saw", missing), ("saw", subscriber.leaked), ("got a changed frame:", subscriber.altered)):
        if items:
            column.problems.append(f"socket {subscriber.name} {what} {some(items)}")
    if missing and subscriber.closed:
        column.problems.append(f"socket {subscriber.name} was closed {len(subscriber.closed)} times: {some(subscriber.closed)}")


def judge_hook(column, hook, by_id, records, counts, event_ids):
    received, nameless, leaked = {}, 0, []
    for webhook_id, record in records.items():
        column.retried += record["attempts"] - 1
        event_id = record["event_id"] or event_ids.get(webhook_id)
        if record["tenant"] not in (None, hook.tenant):
            leaked.append(f"{event_id} of tenant {record['tenant']}")
            continue
        if record["own"] or not record["accepted"]:
            continue
        column.duplicates += record["accepted"] - 1
        if event_id is None:
            nameless += 1
        elif event_id in hook.expected:
            column.duplicates += event_id in received
            received[event_id] = record
        else:
            event = by_id.get(event_id)
            whose = f"of {event.tenant}" if event else "unknown"
            leaked.append(f"{event_id} ({whose})")
    # A delivery whose event nobody could name still counts as one that came.
    missing = sorted(hook.expected - received.keys())
    lost = max(0, len(missing) - nameless)
    column.delivered += len(hook.expected) - lost
    column.delivered_owed += len(hook.expected)
    column.lost += lost
    column.leaked += len(leaked)
    column.unverified += counts["unverified"]
    if lost:
        column.problems.append(f"webhook {hook.name} never got {lost}: {some(missing)}")
    if leaked:
        column.problems.append(f"webhook {hook.name} got what it is not owed: {some(leaked)}")
    if nameless > len(missing):
        column.leaked += nameless - len(missing)
        column.problems.append(f"webhook {hook.name} got {nameless - len(missing)} deliveries more than it is owed")
    if counts["unverified"]:
        column.problems.append(f"webhook {hook.name}: {counts['unverified']} POSTs did not verify: {counts['why']}")


def judge_drops(column, hook, dropped):
    if not hook.expected_drops:
        return
    column.dropped_owed += len(hook.expected_drops)
    column.dropped += dropped or 0
    if dropped is not None and dropped != len(hook.expected_drops):
        column.lost += max(0, len(hook.expected_drops) - dropped)
        column.problems.append(f"webhook {hook.name}: the filter should drop {len(hook.expected_drops)}, the server says {dropped}")


def some(items, limit=3):
    rest = len(items) - limit
    return "; ".join(str(item) for item in items[:limit]) + (f"; and {rest} more" if rest > 0 else "")


def latencies(publisher, subscribers, hooks, records, event_ids):
    """Milliseconds from the first send to the first receipt, of events that needed one try: (sockets, webhooks)."""
    once = {id_: sent.first_at for id_, sent in publisher.sent.items() if sent.tries == 1 and sent.accepted}
    sockets = [at - once[id_] for s in subscribers for id_, at in s.seen.items() if id_ in once and not s.was_blind(publisher.sent[id_])]
    webhooks = []
    for hook in hooks:
        for webhook_id, record in records[hook.name].items():
            id_ = record["event_id"] or event_ids.get(hook.name, {}).get(webhook_id)
            if id_ in once:
                webhooks.append(record["first_at"] - once[id_])
    return [seconds * 1000 for seconds in sockets], [seconds * 1000 for seconds in webhooks]


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
