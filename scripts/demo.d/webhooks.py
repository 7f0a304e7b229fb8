"""The webhooks the demo creates, with what each is owed, known from the data file alone."""

import json
import secrets

import day

PLUGINS = ("shared/slack", "shared/match")
SLACK_CONFIG = {"username": "Call centre", "templates": {
    "call.incoming": {"title": "{caller} calls {queue}", "text": "Dialled {callee}", "fields": ["call_id", "queue"]},
    "call.missed": {"title": "Missed call from {caller}", "text": "Nobody in *{queue}* was free in time."},
    "call.ended": {"title": "Call ended after {duration_s} s", "fields": ["call_id", "agent_id", "cause"]},
    "agent.state.changed": {"title": "{user_id} is {state}", "text": "was {previous_state} {reason}"},
    "notification": {"title": "{title}", "text": "{text}", "fields": ["level"]},
}}


class DemoWebhook:
    """One webhook, and the driver's own idea of it. `rule` is the filter's condition on `data`: (member, value)."""

    def __init__(self, name, tenant, patterns, chain, rule=None, secret=None):
        self.name, self.tenant, self.patterns, self.chain, self.rule, self.secret = name, tenant, patterns, chain, rule, secret
        self.id = None
        self.expected, self.expected_drops = set(), set()

    def expect(self, events):
        for event in events:
            if event.tenant == self.tenant and day.webhook_is_owed(self.patterns, event):
                kept = self.rule is None or (isinstance(event.data, dict) and event.data.get(self.rule[0]) == self.rule[1])
                (self.expected if kept else self.expected_drops).add(event.id)

    async def create(self, admin, receiver):
        body = {"name": self.name, "url": receiver.hook_url(self.name), "events": self.patterns, "retry_count": 20}
        if self.chain:
            body["chain"] = self.chain
        if self.secret:
            body["secret"] = self.secret
        answer = await admin.create_webhook(**body)
        self.id = answer["id"]
        await receiver.register(self.name, answer["signing_secret"])

    @property
    def makes_slack(self):
        return bool(self.chain) and self.rule is None


def plan(tenants, events):
    """For each tenant one plain and one for Slack; for the first one more, behind a filter that drops most."""
    slack, match = PLUGINS
    hooks = []
    for tenant in tenants:
        hooks.append(DemoWebhook(f"{tenant}.plain", tenant, ["*"], None))
        # Its own secret, not one of the whsec_ form: the answer's signing_secret must make official libraries verify it.
        hooks.append(DemoWebhook(f"{tenant}.slack", tenant, ["call.*", "agent.state.changed", "notification"],
                                 [{"plugin": slack, "config": SLACK_CONFIG}], secret="plain " + secrets.token_hex(16)))
    rule = {"pointer": "/queue", "eq": "billing"}
    hooks.append(DemoWebhook(f"{tenants[0]}.billing", tenants[0], ["call.*", "queue.*"],
                             [{"plugin": match, "config": {"all": [rule]}}, {"plugin": slack}], rule=("queue", "billing")))
    for hook in hooks:
        hook.expect(events)
    return hooks


def pretty(body, lines, width):
    """A payload as indented JSON, cut to `lines` of `width`."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False, indent=1)
    except (TypeError, ValueError):
        text = body or "(none yet)"
    return [line[:width] for line in text.splitlines()[:lines]]
