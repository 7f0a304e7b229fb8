"""Chats of a simulated day: a visitor's session from its creation to its end, at most two at once for an agent."""

import vocabulary as words


class Chats:
    """Mixed into `Day`, which owns the clock and the agents."""

    def chat_event(self, type_, session, data):
        self.emit(type_, data, "chat-1", session_id=session)

    def chat_arrives(self):
        session = "%s-chat-%024x" % (self.site, self.rng.getrandbits(96))
        visitor = "%s %s." % (self.rng.choice(words.FIRST_NAMES), self.rng.choice(words.LAST_NAMES)[0])
        self.chat_event("chat.session.created", session, {"visitor": visitor, "reason": self.rng.choice(words.CHAT_REASONS)})
        free = [a for a in self.agents if self.is_free(a) or (a.state == "chatting" and a.chats < 2)]
        if free:
            agent = min(free, key=lambda a: (-a.chats, a.idle_since))
            agent.chats += 1  # taken before the greeting, so that nobody gives the agent a call meanwhile
            self.set_state(agent, "chatting")
            self.later(self.rng.uniform(2, 8), self.greet, agent, session)
        else:
            self.waiting_chats.append(session)

    def chat_assigned(self, agent, session):
        agent.chats += 1
        self.set_state(agent, "chatting")
        self.greet(agent, session)

    def greet(self, agent, session):
        self.chat_event("chat.agent.assigned", session, {"agent_id": agent.user_id})
        self.later(self.rng.uniform(3, 9), self.says, agent, session, agent.user_id, words.AGENT_LINES[0])
        self.later(self.rng.uniform(15, 40), self.chat_turn, agent, session, self.rng.randrange(4, 12), True)

    def says(self, agent, session, who, line):
        text = line.format(name=agent.name.split()[0], n=self.rng.randrange(1000, 9999), d=self.rng.randrange(2, 28))
        data = {"from": who, "text": text}
        if "attached" in text:
            name, content_type = self.rng.choice(words.ATTACHMENTS)
            data["attachments"] = [{"name": name.format(n=self.rng.randrange(1000, 9999)), "content_type": content_type,
                                    "size_bytes": self.rng.randrange(20_000, 900_000)}]
        self.chat_event("chat.message", session, data)

    def chat_turn(self, agent, session, turns_left, visitor_speaks):
        if not turns_left:
            self.chat_event("chat.session.ended", session, {"reason": self.rng.choice(words.CHAT_ENDS)})
            agent.chats -= 1
            if not agent.chats and agent.state == "chatting":
                self.becomes_available(agent)
            return
        who = "visitor" if visitor_speaks else agent.user_id
        line = self.rng.choice(words.VISITOR_LINES if visitor_speaks else words.AGENT_LINES[1:])
        if self.rng.random() < 0.45:
            self.chat_event("chat.typing", session, {"from": who})
        self.later(self.rng.uniform(3, 14), self.says, agent, session, who, line)
        # The next turn begins only after this one was said.
        self.later(self.rng.uniform(16, 70), self.chat_turn, agent, session, turns_left - 1, not visitor_speaks)
