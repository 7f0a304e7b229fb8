"""The demo's driver: starts the server and the receiver, replays the day, and judges. `scripts/demo --help` tells the flags.

It speaks only HTTP, WebSocket and files with the server, and knows nothing of its source."""

import asyncio
import pathlib
import secrets
import shutil
import signal
import sys
import tempfile
import time

import aiohttp

import api
import day
import verdict
import webhooks
from flags import parse, show
from play import how_to_play
from processes import ProcessError, Receiver, Server
from publisher import Publisher
from subscribers import Subscriber
from swap import Swap
from table import table
from view import View

DRAIN_LIMIT_S = 60
SWAP_AT, KILL_AT = 0.50, 0.60
STRAGGLERS_S = 0.7   # after all has come: time for what should not come


class Demo:
    """All that the parts share. Used from one event loop only."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.phase = self.killed = ""
        self.counts = {}           # the receiver's, refreshed by `refresh`
        self.events, self.tenants = [], []
        self.server = self.receiver = self.publisher = self.swap = None
        self.admins, self.tokens, self.subscribers, self.hooks = {}, {}, [], []

    async def refresh(self):
        self.counts = await self.receiver.get("counts")

    # --- before the first event

    async def prepare(self):
        options = self.options
        self.events = day.read(options.seed_file)
        self.tenants = day.tenants(self.events)
        say(f"Read {len(self.events):,} events of {', '.join(self.tenants)} from {show(options.seed_file)}")

        plugin_dir = pathlib.Path(self.folder, "plugins")
        plugin_dir.mkdir()
        components = sorted(pathlib.Path(options.plugins).glob("*.wasm"))
        for component in components:
            shutil.copy(component, plugin_dir)
        say(f"Copied {len(components)} plugins: {', '.join(c.stem for c in components)}")
        self.swap = Swap(plugin_dir)

        jwt_secret = secrets.token_hex(32)
        self.server = Server(options.binary, self.folder, jwt_secret)
        say(f"Starting {show(options.binary)} on {self.server.url} with SQLite in {self.folder}")
        took_s = await self.server.start()
        say(f"The server is ready after {took_s:.1f} s")
        self.receiver = Receiver()
        await self.receiver.start()
        say(f"The webhook receiver, another process, listens on {self.receiver.url}; 3 % of first attempts will get a 503")

        await self.create_admins(jwt_secret)
        await self.create_webhooks()
        await self.connect_subscribers(jwt_secret)
        publishing = {tenant: api.token(jwt_secret, tenant, "pbx", "service") for tenant in self.tenants}
        self.publisher = Publisher(self.server.url, publishing, self.events, options.speed)

    async def create_admins(self, jwt_secret):
        for tenant in self.tenants:
            self.tokens[tenant] = api.token(jwt_secret, tenant, "demo-admin", "admin")
            self.admins[tenant] = api.Admin(self.server.url, self.tokens[tenant])
        plugins = await self.admins[self.tenants[0]].wait_for_plugins(webhooks.PLUGINS)
        say("The server has loaded " + ", ".join(sorted(plugins)))

    async def create_webhooks(self):
        for hook in webhooks.plan(self.tenants, self.events):
            await hook.create(self.admins[hook.tenant], self.receiver)
            self.hooks.append(hook)
            through = " → ".join(step["plugin"] for step in hook.chain or []) or "as they are"
            say(f"Webhook {hook.name}: {', '.join(hook.patterns)} ({through}), owed {len(hook.expected):,} deliveries")

    async def connect_subscribers(self, jwt_secret):
        by_id = {event.id: event for event in self.events}
        for tenant in self.tenants:
            agent = day.most_addressed_user(self.events, tenant)
            for user, patterns in (("wallboard", None), ("call-monitor", ["call.*"]), (agent, None)):
                bearer = api.token(jwt_secret, tenant, user, "agent")
                subscriber = Subscriber(f"{tenant}/{user}", self.server.ws_url, bearer, tenant, user, patterns, by_id)
                self.subscribers.append(subscriber)
                await subscriber.connect()
                say(f"Socket {subscriber.name}: {'subscribed to call.*' if patterns else 'silent'}, owed {len(subscriber.expected):,} frames")

    # --- the replay

    async def replay(self):
        seconds = self.events[-1].at_s / self.options.speed
        self.phase = f"{self.options.speed:g} times faster than real time: the day in {seconds:.0f} s"
        publishing = asyncio.create_task(self.publisher.run())
        disturbing = asyncio.create_task(self.disturb())
        try:
            await asyncio.gather(publishing, disturbing)
            self.phase = "all published, waiting for the last deliveries"
            await self.drain()
        finally:
            publishing.cancel()
            disturbing.cancel()

    async def disturb(self):
        """Half way the plugin's file is replaced; with --kill the server dies a little later."""
        await self.reached(SWAP_AT)
        await self.swap.run(self.admins[self.tenants[0]])
        if self.options.kill:
            await self.reached(KILL_AT)
            for subscriber in self.subscribers:
                subscriber.server_was_killed(time.time())
                subscriber.ready.clear()
            self.phase = "kill -9"
            await self.server.kill()
            took_s = await self.server.start()
            self.phase = self.killed = f"killed with kill -9 at {KILL_AT:.0%}, ready again after {took_s:.1f} s"
            for subscriber in self.subscribers:
                await asyncio.wait_for(subscriber.ready.wait(), 30)
                subscriber.server_is_back()

    async def reached(self, share):
        while self.publisher.progress < share:
            await asyncio.sleep(0.05)

    async def drain(self):
        ends = time.monotonic() + DRAIN_LIMIT_S
        while time.monotonic() < ends and not await self.is_complete():
            await asyncio.sleep(0.2)
        await asyncio.sleep(STRAGGLERS_S)

    async def is_complete(self):
        await self.refresh()
        if any(self.counts[hook.name]["delivered"] < len(hook.expected) for hook in self.hooks):
            return False
        if any(subscriber.missing(self.publisher.sent) for subscriber in self.subscribers):
            return False
        drops = await self.drops()
        return all(drops[h.name] in (None, len(h.expected_drops)) for h in self.hooks if h.expected_drops)

    async def drops(self):
        """Hook name → what its filter dropped, None where the server does not tell."""
        return {hook.name: (await self.admins[hook.tenant].delivery_counts(hook.id)).get("dropped")
                for hook in self.hooks if hook.expected_drops}

    # --- after the last event

    async def judge(self):
        """Prints the table; whether all is well."""
        await self.refresh()
        records, drops = await self.receiver.get("records"), await self.drops()
        event_ids = {hook.name: await self.admins[hook.tenant].event_ids(hook.id) for hook in self.hooks
                     if any(record["event_id"] is None for record in records[hook.name].values())}
        plugins = await self.admins[self.tenants[0]].plugins()
        columns = {tenant: verdict.judge(tenant, self.publisher, self.subscribers, self.hooks, records, self.counts, event_ids, drops)
                   for tenant in self.tenants}
        sockets_ms, webhooks_ms = verdict.latencies(self.publisher, self.subscribers, self.hooks, records, event_ids)
        print()
        print("\n".join(table(columns, sockets_ms, webhooks_ms, plugins)))

        problems = [f"{tenant}: {problem}" for tenant, column in columns.items() for problem in column.problems]
        print(f"swap      {self.swap.state}")
        if self.options.kill:
            again = sum(sent.tries > 1 for sent in self.publisher.sent.values())
            print(f"kill      {self.killed}; {again} events were sent again, "
                  f"{sum(c.again for c in columns.values())} of them had been committed before")
        if not self.swap.done:
            problems.append(self.swap.state)
        if problems:
            print("\nFAILED\n" + "\n".join(f"  - {problem}" for problem in problems))
            print(f"\nThe end of the server's log:\n{self.server.log_tail()}")
        else:
            print("verdict   nothing lost, nothing leaked, every delivery verified")
        return not problems

    async def close(self):
        await asyncio.gather(*(subscriber.close() for subscriber in self.subscribers))
        await asyncio.gather(*(admin.close() for admin in self.admins.values()))
        await asyncio.gather(*(process.stop() for process in (self.server, self.receiver) if process))


async def run(options, folder):
    """Exit status."""
    task = asyncio.current_task()
    on_signals(task.cancel)
    demo = Demo(options, folder)
    finished, well = False, False
    try:
        await demo.prepare()
        say("The day begins\n")
        view = asyncio.create_task(View(demo, live=sys.stdout.isatty() and not options.plain).run())
        try:
            await demo.replay()
        finally:
            view.cancel()
            (fault,) = await asyncio.gather(view, return_exceptions=True)
            if isinstance(fault, Exception) and not isinstance(fault, asyncio.CancelledError):
                print(f"the view stopped: {fault!r}", file=sys.stderr)
        well = await demo.judge()
        finished = True
        if options.keep:
            for subscriber in demo.subscribers:
                await subscriber.close()
            print(how_to_play(demo.server, demo.receiver, demo.tenants[0], demo.tokens[demo.tenants[0]], demo.hooks[0].id), flush=True)
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not finished:
            print("\nInterrupted; stopping what was started", file=sys.stderr)
            return 130
    except (day.BadFile, ProcessError, api.ApiError, OSError, KeyError, aiohttp.ClientError, asyncio.TimeoutError) as error:
        print(f"\nFAILED: {type(error).__name__}: {error}", file=sys.stderr)
        if demo.server and not isinstance(error, ProcessError):
            print(f"The end of the server's log:\n{demo.server.log_tail()}", file=sys.stderr)
        return 1
    finally:
        on_signals(lambda: None)  # a second Ctrl-C must not leave a process behind
        await demo.close()
    return 0 if well else 1


def on_signals(action):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, action)


def say(text):
    print(f"==> {text}" if text.strip() else text, flush=True)


def main():
    options = parse()
    with tempfile.TemporaryDirectory(prefix="jackfield-demo-") as folder:
        return asyncio.run(run(options, folder))


if __name__ == "__main__":
    sys.exit(main())
