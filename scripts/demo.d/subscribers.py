"""WebSocket clients: what each may see, what it saw, and what it must never see."""

import asyncio
import json
import time

import websockets

import day

CONNECT_LIMIT_S = 20
RECONNECT_PAUSE_S = 0.1
KILL_MARGIN_S = 1.0  # an answer this close before a kill may have had its frame cut off


class Subscriber:
    """One socket. A frame counts once by its event id; whatever should not have come is kept with the reason."""

    def __init__(self, name, url, bearer, tenant, user, patterns, events):
        self.name, self.url, self.bearer = name, url, bearer
        self.tenant, self.user, self.patterns = tenant, user, patterns
        self.events = events                 # all published events by id
        self.expected = {e.id for e in events.values() if day.socket_sees(tenant, user, patterns or ["*"], e)}
        self.seen = {}                       # event id → seconds since the epoch
        self.frames = self.repeated = self.own = self.connects = 0
        self.leaked, self.altered, self.closed = [], [], []
        self.sample = None
        self.ready = asyncio.Event()
        self.ready_at = 0.0
        self.blind = []                      # (from, until): the server was killed, frames of that time are excused
        self.task = None

    async def connect(self):
        self.task = asyncio.create_task(self.run())
        waiter = asyncio.create_task(self.ready.wait())
        await asyncio.wait([waiter, self.task], timeout=CONNECT_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if not self.ready.is_set():
            raise ConnectionError(f"socket {self.name} got no welcome: {self.closed[-1] if self.closed else 'silence'}")

    async def run(self):
        while True:
            try:
                async with websockets.connect(self.url + "/ws", additional_headers={"Authorization": "Bearer " + self.bearer},
                                              ping_interval=None, max_size=None, compression=None, proxy=None) as socket:
                    self.connects += 1
                    narrowed = self.patterns is None
                    async for text in socket:
                        at = time.time()
                        frame = json.loads(text)
                        if "id" in frame:
                            self.take(frame, text, at, narrowed)
                        elif frame["type"] == "welcome" and not narrowed:
                            await socket.send(json.dumps({"type": "subscribe", "events": self.patterns, "ref": 1}))
                        elif frame["type"] in ("welcome", "subscribed"):
                            narrowed = True
                            self.ready_at = at
                            self.ready.set()
                        elif frame["type"] == "error":
                            self.closed.append(f"error frame {text[:200]}")
                self.closed.append(f"closed {socket.close_code} {socket.close_reason}")
            except (OSError, websockets.WebSocketException, asyncio.TimeoutError) as error:
                self.closed.append(f"{type(error).__name__}: {error}")
            self.ready.clear()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    def take(self, frame, text, at, narrowed):
        self.frames += 1
        id_, event = frame["id"], self.events.get(frame["id"])
        if frame.get("tenant_id") != self.tenant or (event and event.tenant != self.tenant):
            self.leaked.append(f"{id_} of tenant {frame.get('tenant_id')}")
        elif event is None and day.is_own(frame["type"]):
            self.own += 1
        elif event is None:
            self.leaked.append(f"{id_} ({frame['type']}), which nobody published")
        elif event.user_id not in (None, self.user):
            self.leaked.append(f"{id_}, addressed to {event.user_id}")
        elif narrowed and id_ not in self.expected:
            self.leaked.append(f"{id_} ({event.type}), which was not subscribed")
        else:
            if event.data_text not in text:
                self.altered.append(f"{id_}: data is not byte for byte what was published")
            if ("offset" in frame) == (event.type in day.EPHEMERAL) and not frame.get("offline"):
                self.altered.append(f"{id_} ({event.type}) has {'an' if 'offset' in frame else 'no'} offset")
            if id_ in self.seen:
                self.repeated += 1
            self.seen.setdefault(id_, at)
            self.sample = text

    def server_was_killed(self, at):
        self.blind.append((at - KILL_MARGIN_S, None))

    def server_is_back(self):
        """Call when `ready` is set again."""
        since, _ = self.blind.pop()
        self.blind.append((since, self.ready_at))

    def missing(self, sent):
        """Expected events that were accepted and not seen, without those published while the server was dead."""
        return [id_ for id_ in self.expected
                if id_ not in self.seen and id_ in sent and sent[id_].accepted and not self.was_blind(sent[id_])]

    def was_blind(self, sent):
        return any(sent.answered_at >= since and (until is None or sent.first_at <= until) for since, until in self.blind)

    async def close(self):
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
