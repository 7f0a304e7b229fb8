"""Calls of a simulated day: from the spoken menu through queue, ringing, hold and transfer to the recording."""

import vocabulary as words


def clamp(value, low, high):
    return max(low, min(high, value))


class Call:
    def __init__(self, call_id, caller, line, queue, since):
        self.id, self.caller, self.line, self.queue, self.since = call_id, caller, line, queue, since


class Calls:
    """Mixed into `Day`, which owns the clock, the agents and the queues."""

    def phone(self):
        if self.rng.random() < 0.12:
            return "+4420794600%02d" % self.rng.randrange(100)
        return "+1%s55501%02d" % (self.rng.choice(words.AREA_CODES), self.rng.randrange(100))

    def call_event(self, type_, call, data):
        self.emit(type_, {"call_id": call.id, **data}, "pbx-1" if self.site == "acme" else "pbx-2", key=call.id)

    def call_arrives(self, queue=None):
        queues = self.plan["queues"]
        queue = queue or self.rng.choices(list(queues), queues.values())[0]
        call = Call("%s-call-%08x" % (self.site, self.rng.getrandbits(32)), self.phone(),
                    self.rng.choice(self.plan["lines"]), queue, self.now)
        self.call_event("call.incoming", call, {"caller": call.caller, "callee": call.line, "queue": queue})
        self.later(self.rng.uniform(4, 25), self.call_queued, call)  # the spoken menu

    def call_queued(self, call):
        call.since = self.now
        self.waiting[call.queue].append(call)
        position = len(self.waiting[call.queue])
        self.emit("queue.call.joined", {"queue": call.queue, "call_id": call.id, "position": position}, "acd-1", key=call.id)
        self.later(clamp(self.rng.expovariate(1 / 120), 12, 600), self.patience_ends, call)
        self.route(call)

    def route(self, call):
        free = [a for a in self.agents if self.is_free(a) and call.queue in a.queues]
        if free:
            self.ring(call, min(free, key=lambda a: a.idle_since))

    def serve_the_longest_waiting(self, agent):
        calls = [self.waiting[queue][0] for queue in agent.queues if self.waiting[queue]]
        if calls:
            self.ring(min(calls, key=lambda c: c.since), agent)
        elif self.waiting_chats:
            self.chat_assigned(agent, self.waiting_chats.pop(0))

    def ring(self, call, agent):
        self.waiting[call.queue].remove(call)
        agent.state = "ringing"  # not announced: telephones ring, states change on answer
        self.call_event("call.ringing", call, {"caller": call.caller, "callee": agent.extension, "queue": call.queue})
        if self.rng.random() < 0.03:
            self.later(20, self.not_answered, call, agent)
        else:
            self.later(clamp(self.rng.gauss(5, 2.5), 1.2, 15), self.answered, call, agent)

    def not_answered(self, call, agent):
        agent.state = "available"
        self.set_state(agent, "away", "did not answer")
        self.later(self.rng.uniform(40, 160), self.becomes_available, agent)
        self.waiting[call.queue].insert(0, call)
        self.route(call)

    def patience_ends(self, call):
        if call in self.waiting[call.queue]:
            self.waiting[call.queue].remove(call)
            waited = round(self.now - call.since, 1)
            self.emit("queue.call.abandoned", {"queue": call.queue, "call_id": call.id, "wait_s": waited}, "acd-1", key=call.id)
            self.call_event("call.missed", call, {"caller": call.caller, "queue": call.queue})

    def answered(self, call, agent):
        agent.state = "available"
        self.call_event("call.answered", call, {"agent_id": agent.user_id, "wait_s": round(self.now - call.since, 1)})
        self.set_state(agent, "on_call")
        self.talk(call, agent, self.now, clamp(self.rng.lognormvariate(6.1, 0.6), 35, 1500))

    def talk(self, call, agent, answered_at, length_s):
        if self.rng.random() < 0.30 and length_s > 120:
            start = self.rng.uniform(0.2, 0.6) * length_s
            self.later(start, self.call_event, "call.hold", call, {"agent_id": agent.user_id})
            self.later(start + self.rng.uniform(8, 0.3 * length_s), self.call_event, "call.unhold", call,
                       {"agent_id": agent.user_id})
        if self.rng.random() < 0.08:
            self.later(length_s, self.transfer, call, agent, answered_at)
        else:
            self.later(length_s, self.hang_up, call, agent, answered_at)

    def transfer(self, call, agent, answered_at):
        colleagues = [a for a in self.agents if self.is_free(a)]
        if not colleagues:
            return self.hang_up(call, agent, answered_at)
        colleague = self.rng.choice(colleagues)
        self.call_event("call.transferred", call, {"from": agent.user_id, "to": colleague.user_id})
        self.set_state(colleague, "on_call", "transfer")
        self.wrap_up(agent)
        self.later(clamp(self.rng.lognormvariate(5.4, 0.5), 30, 1200), self.hang_up, call, colleague, answered_at)

    def hang_up(self, call, agent, answered_at):
        duration_s = round(self.now - answered_at, 1)
        cause = self.rng.choice(words.END_CAUSES)
        self.call_event("call.ended", call, {"agent_id": agent.user_id, "duration_s": duration_s, "cause": cause})
        if self.rng.random() < 0.85:
            url = "https://recordings.example/%s/%s.ogg" % (self.site, call.id)
            self.later(self.rng.uniform(3, 20), self.call_event, "call.recording.available", call,
                       {"url": url, "duration_s": duration_s})
        self.wrap_up(agent)

    def wrap_up(self, agent):
        self.set_state(agent, "wrap_up")
        self.later(clamp(self.rng.gauss(75, 40), 10, 240), self.becomes_available, agent)
