"""One tenant's day: the clock, shifts, states and breaks of agents, queue figures, notes. Calls and chats are mixed in."""

import heapq

import vocabulary as words
from calls import Calls
from chats import Chats

DAY_S = 8 * 3600  # 08:00 to 16:00
# Callers per hour relative to the peak, as (seconds since 08:00, share).
LOAD = [(0, 0.30), (3600, 0.70), (7200, 1.00), (10800, 0.95), (14400, 0.65), (17100, 0.55), (19800, 0.95), (22500, 1.15),
        (25200, 1.00), (28800, 0.45)]
STATS_EVERY_S = 300


def load(at_s):
    for (t0, v0), (t1, v1) in zip(LOAD, LOAD[1:]):
        if at_s <= t1:
            return v0 + (v1 - v0) * (at_s - t0) / (t1 - t0)
    return LOAD[-1][1]


class Agent:
    def __init__(self, name, extension, queues):
        self.name, self.extension, self.queues = name, extension, queues
        self.user_id = name.lower().replace(" ", ".").translate(str.maketrans("éłë", "ele"))
        self.state = "offline"
        self.chats = 0
        self.idle_since = 0.0
        self.break_due = None   # (length_s, reason) when a break is waiting for the end of a call
        self.leaving = False


class Day(Calls, Chats):
    """One tenant's day. `events` collects (at_s, tenant, event without id); `later` schedules what follows."""

    def __init__(self, tenant, people, rng):
        self.tenant, self.rng = tenant, rng
        self.plan = words.TENANTS[tenant]
        self.site = self.plan["site"]
        self.now, self.turn, self.pending = 0.0, 0, []
        self.events = []
        self.waiting = {queue: [] for queue in self.plan["queues"]}
        self.waiting_chats = []
        queues = list(self.plan["queues"])
        self.agents = []
        for i in range(self.plan["agents"]):
            skills = sorted({queues[i % len(queues)], rng.choice(queues)}) if rng.random() < 0.35 else [queues[i % len(queues)]]
            self.agents.append(Agent(people.pop(), str(self.plan["first_extension"] + i), skills))

    # --- the clock

    def later(self, delay_s, action, *arguments):
        self.turn += 1
        heapq.heappush(self.pending, (self.now + delay_s, self.turn, action, arguments))

    def run(self):
        self.schedule_shifts()
        self.schedule_arrivals(self.plan["calls"], self.call_arrives)
        self.schedule_arrivals(self.plan["chats"], self.chat_arrives)
        if "surge" in self.plan:
            since, until, count, queue = self.plan["surge"]
            for _ in range(count):
                self.later(self.rng.uniform(since, until), self.call_arrives, queue)
        self.schedule_notes()
        for at_s in range(STATS_EVERY_S, DAY_S - 1, STATS_EVERY_S):
            for queue in self.waiting:
                self.later(at_s + self.rng.uniform(0, 2), self.queue_stats, queue)
        while self.pending:
            self.now, _, action, arguments = heapq.heappop(self.pending)
            action(*arguments)
        return self.events

    def emit(self, type_, data, source, key=None, user_id=None, session_id=None):
        event = {"type": type_, "user_id": user_id, "session_id": session_id, "key": key, "source": source, "data": data}
        self.events.append((self.now, self.tenant, {k: v for k, v in event.items() if v is not None}))

    # --- what is planned before the day begins

    def schedule_shifts(self):
        for i, agent in enumerate(self.agents):
            # A third starts before the ramp, a third with it, a third later: part-time and late shifts.
            start = self.rng.uniform(1, 240) if i % 3 == 0 else 1800 * (i % 3) + self.rng.uniform(-900, 900)
            end = DAY_S - 60 if i % 3 else DAY_S - self.rng.uniform(3600, 7200)
            self.later(start, self.log_in, agent)
            self.later(self.rng.uniform(4400, 8400), self.wants_break, agent, self.rng.uniform(420, 900), None)
            self.later(self.rng.uniform(12600, 18000), self.wants_break, agent, self.rng.uniform(1500, 2700), "lunch")
            if i % 2:
                self.later(self.rng.uniform(20500, 24000), self.wants_break, agent, self.rng.uniform(400, 800), None)
            self.later(end - self.rng.uniform(0, 900), self.goes_home, agent)

    def schedule_arrivals(self, count, action):
        """`count` arrivals before 15:25, spread by the load curve (rejection sampling)."""
        top = max(share for _, share in LOAD)
        while count:
            at_s = self.rng.uniform(30, DAY_S - 2100)
            if self.rng.random() * top < load(at_s):
                self.later(at_s, action)
                count -= 1

    def schedule_notes(self):
        for _ in range(len(self.agents) * 3):
            self.later(self.rng.uniform(3600, DAY_S - 1200), self.personal_note, self.rng.choice(self.agents))
        # The first agent is whom the demo connects as, so that direct events are seen all day.
        for _ in range(24):
            self.later(self.rng.uniform(600, DAY_S - 1200), self.personal_note, self.agents[0])
        for i, (title, text, level) in enumerate(words.BROADCAST_NOTES):
            note = {"title": title, "text": text, "level": level}
            self.later(2000 + 5000 * i + self.rng.uniform(0, 900), self.emit, "notification", note, "desk-1")
        for code, message in words.FAULTS:
            self.later(self.rng.uniform(3000, DAY_S - 3000), self.emit, "error", {"code": code, "message": message}, "ops-1")

    # --- agents

    def set_state(self, agent, state, reason=None):
        if agent.state == state:
            return
        data = {"user_id": agent.user_id, "state": state, "previous_state": agent.state}
        if reason:
            data["reason"] = reason
        agent.state = state
        self.emit("agent.state.changed", data, "acd-1", key=agent.user_id)

    def log_in(self, agent):
        self.emit("agent.login", {"user_id": agent.user_id, "extension": agent.extension}, "acd-1", key=agent.user_id)
        self.later(self.rng.uniform(0.1, 0.4), self.join_queues, agent)

    def join_queues(self, agent):
        for queue in agent.queues:
            self.emit("queue.member.added", {"queue": queue, "user_id": agent.user_id}, "acd-1", key=agent.user_id)
        self.becomes_available(agent)

    def leave_queues(self, agent):
        for queue in agent.queues:
            self.emit("queue.member.removed", {"queue": queue, "user_id": agent.user_id}, "acd-1", key=agent.user_id)

    def becomes_available(self, agent):
        if agent.leaving and not agent.chats:
            self.set_state(agent, "offline", "end of shift")
            self.leave_queues(agent)
            self.emit("agent.logout", {"user_id": agent.user_id, "extension": agent.extension}, "acd-1", key=agent.user_id)
        elif agent.break_due and not agent.chats:
            self.take_break(agent)
        elif agent.chats:
            self.set_state(agent, "chatting")
        else:
            self.set_state(agent, "available")
            agent.idle_since = self.now
            self.serve_the_longest_waiting(agent)

    def is_free(self, agent):
        return agent.state == "available"

    def wants_break(self, agent, length_s, reason):
        agent.break_due = (length_s, reason or self.rng.choice(words.BREAK_REASONS))
        if self.is_free(agent):
            self.take_break(agent)

    def take_break(self, agent):
        (length_s, reason), agent.break_due = agent.break_due, None
        self.set_state(agent, "break", reason)
        self.emit("agent.break.started", {"user_id": agent.user_id, "reason": reason}, "acd-1", key=agent.user_id)
        if reason == "lunch":
            self.leave_queues(agent)
        self.later(length_s, self.end_break, agent, round(length_s), reason)

    def end_break(self, agent, duration_s, reason):
        data = {"user_id": agent.user_id, "reason": reason, "duration_s": duration_s}
        self.emit("agent.break.ended", data, "acd-1", key=agent.user_id)
        if reason == "lunch":
            self.join_queues(agent)
        else:
            self.becomes_available(agent)

    def goes_home(self, agent):
        agent.leaving = True
        if self.is_free(agent):
            self.becomes_available(agent)

    # --- figures and notes

    def queue_stats(self, queue):
        calls = self.waiting[queue]
        data = {"queue": queue, "waiting": len(calls),
                "longest_wait_s": round(max((self.now - c.since for c in calls), default=0), 1),
                "agents_available": sum(self.is_free(a) and queue in a.queues for a in self.agents)}
        self.emit("queue.stats.updated", data, "acd-1", key="queue-" + queue)

    def personal_note(self, agent):
        title, text, level = self.rng.choice(words.PERSONAL_NOTES)
        numbers = {"n": self.rng.randrange(1000, 9999), "d": self.rng.randrange(2, 9), "phone": self.phone()}
        note = {"title": title.format(**numbers), "text": text.format(**numbers), "level": level}
        self.emit("notification", note, "desk-1", user_id=agent.user_id)
