"""The webhook receiver, a process of its own: verifies every POST, counts it, and answers the counts over local HTTP.

Both signatures are checked: Standard Webhooks by the official library, and `x-webhook-signature` by hand. A small,
seeded share of first attempts is answered 503 to make the server retry. It ends when its standard input closes, so
that it cannot outlive the driver.

    POST /hook/{name}    deliveries                 PUT /hooks/{name}   {"signing_secret": …}, before the first delivery
    GET /counts          totals for the live view   GET /records        every delivery, for the verdict"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import socket
import sys
import time

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

import day


class Hook:
    def __init__(self, signing_secret):
        self.verifier = Webhook(signing_secret)
        self.key = base64.b64decode(signing_secret.split("_", 1)[1] + "==")
        self.deliveries = {}   # webhook-id → Delivery
        self.posts = 0
        self.refused = 0       # answered 503 on purpose
        self.unverified = 0
        self.delivered = 0     # distinct, without Jackfield's own events
        self.why = None        # of the last unverified one
        self.sample = None

    def counts(self):
        return {"posts": self.posts, "refused": self.refused, "unverified": self.unverified, "delivered": self.delivered,
                "repeated": self.posts - self.unverified - len(self.deliveries), "why": self.why, "sample": self.sample}


class Delivery:
    def __init__(self, event_id, tenant, own, at):
        self.event_id, self.tenant, self.own, self.first_at = event_id, tenant, own, at
        self.attempts = self.accepted = 0


class Receiver:
    def __init__(self, seed, refuse_share):
        self.seed, self.refuse_share, self.hooks = seed, refuse_share, {}

    async def register(self, request):
        self.hooks[request.match_info["name"]] = Hook((await request.json())["signing_secret"])
        return web.Response(status=204)

    async def receive(self, request):
        body = await request.read()
        at = time.time()
        hook = self.hooks.get(request.match_info["name"])
        if hook is None:
            return web.Response(status=404)
        hook.posts += 1
        fault = signature_fault(hook, body, request.headers)
        if fault:
            hook.unverified += 1
            hook.why = fault
            return web.Response(status=401, text=fault)

        webhook_id = request.headers["webhook-id"]
        delivery = hook.deliveries.get(webhook_id)
        if delivery is None:
            delivery = hook.deliveries[webhook_id] = to_delivery(body, request.headers, at)
        delivery.attempts += 1
        if delivery.attempts == 1 and self.refuses(webhook_id):
            hook.refused += 1
            return web.Response(status=503, text="try again")
        delivery.accepted += 1
        if delivery.accepted == 1 and not delivery.own:
            hook.delivered += 1
            hook.sample = body.decode()
        return web.Response(text="ok")

    def refuses(self, webhook_id):
        digest = hashlib.sha256(f"{self.seed} {webhook_id}".encode()).digest()
        return int.from_bytes(digest[:4], "big") < self.refuse_share * 2**32

    async def counts(self, _request):
        return web.json_response({name: hook.counts() for name, hook in self.hooks.items()})

    async def records(self, _request):
        return web.json_response({name: {id_: vars(delivery) for id_, delivery in hook.deliveries.items()}
                                  for name, hook in self.hooks.items()})


def signature_fault(hook, body, headers):
    """None, or what is wrong with the signatures."""
    try:
        hook.verifier.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError) as error:
        return f"webhook-signature: {error}"
    expected = "sha256=" + hmac.new(hook.key, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), headers.get("x-webhook-signature", "").encode()):
        return "x-webhook-signature is not the HMAC of the body"
    return None


def to_delivery(body, headers, at):
    """What the body says of its event: an envelope, or a Slack message of the stock plugin. Nothing known of any other."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    event_id = tenant = event_type = None
    if isinstance(value, dict) and "tenant_id" in value:
        event_id, tenant, event_type = value.get("id"), value["tenant_id"], value.get("type")
    elif isinstance(value, dict) and value.get("blocks"):
        event_id, tenant = slack_origin(value["blocks"][-1])
    own = day.is_own(event_type or headers.get("x-webhook-event", ""))
    return Delivery(event_id, tenant, own, at)


def slack_origin(block):
    """(event id, tenant): the last block of the stock plugin's messages is a context of type, time, id, tenant."""
    texts = [element.get("text") for element in block.get("elements", [])] if block.get("type") == "context" else []
    return (texts[2], texts[3]) if len(texts) >= 4 else (None, None)


async def serve(options):
    receiver = Receiver(options.seed, options.refuse)
    app = web.Application(client_max_size=1 << 20)
    app.add_routes([web.put("/hooks/{name}", receiver.register), web.post("/hook/{name}", receiver.receive),
                    web.get("/counts", receiver.counts), web.get("/records", receiver.records)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    await web.SockSite(runner, listener).start()
    print(listener.getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--refuse", type=float, default=0.03, help="share of first attempts answered 503")
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass
