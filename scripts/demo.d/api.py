"""Tokens, and the server's HTTP API as far as the demo uses it."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

import aiohttp


class ApiError(Exception):
    pass


def token(secret, tenant, user, role, lifetime_s=24 * 3600):
    """An HS256 JWT."""
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    now = int(time.time())
    claims = {"sub": user, "tenant_id": tenant, "role": role, "iat": now, "exp": now + lifetime_s}
    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.new(secret.encode(), text, hashlib.sha256).digest())).decode()


class Admin:
    """One tenant's administrator."""

    def __init__(self, url, bearer):
        self.url, self.bearer = url, bearer
        self.session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {bearer}"},
                                             timeout=aiohttp.ClientTimeout(total=30))

    async def call(self, method, path, **arguments):
        async with self.session.request(method, self.url + path, **arguments) as response:
            text = await response.text()
            if response.status >= 300:
                raise ApiError(f"{method} {path} answered {response.status}: {text[:600]}")
            return json.loads(text) if text else None

    async def create_webhook(self, **body):
        return await self.call("POST", "/api/v1/webhooks", json=body)

    async def delivery_counts(self, webhook_id):
        """State → number of deliveries; empty where the server does not say."""
        stats = await self.call("GET", f"/api/v1/webhooks/{webhook_id}/stats")
        return stats.get("deliveries") or {}

    async def event_ids(self, webhook_id):
        """Delivery → event, from the log of attempts: a body that a plugin made need not name its event."""
        found, cursor = {}, None
        while True:
            query = {"limit": "200", **({"cursor": cursor} if cursor else {})}
            page = await self.call("GET", f"/api/v1/webhooks/{webhook_id}/logs", params=query)
            found.update((str(entry["delivery_id"]), entry["event_id"]) for entry in page["data"])
            cursor = page.get("next_cursor")
            if not cursor or not page["data"]:
                return found

    async def plugins(self):
        """Name → what the server says of it."""
        answer = await self.call("GET", "/api/v1/plugins")
        entries = answer["data"] if isinstance(answer, dict) else answer
        return {entry["name"]: entry for entry in entries}

    async def wait_for_plugins(self, names, limit_s=60):
        """All plugins, once `names` are among them: they are compiled after the server has started."""
        ends = time.monotonic() + limit_s
        while True:
            plugins = await self.plugins()
            missing = [name for name in names if name not in plugins]
            if not missing:
                return plugins
            if time.monotonic() > ends:
                raise ApiError(f"the server has not loaded {', '.join(missing)} within {limit_s} s, only {list(plugins)}")
            await asyncio.sleep(0.1)

    async def close(self):
        await self.session.close()
