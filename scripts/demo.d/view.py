"""What is shown while the day runs: a block redrawn in place on a terminal, or one line a second elsewhere.

Rates are over the last two seconds. Only reads; nothing else knows that it is there."""

import asyncio
import json
import shutil
import sys
import time
from collections import deque

from webhooks import pretty

REDRAW_S = 0.2
RATE_OVER_S = 2.0
SAMPLE_S = 2.0
HEIGHT = 24
BOLD, DIM, GREEN, RED, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


class Totals:
    """One look at all counters."""

    def __init__(self, state):
        self.at = time.monotonic()
        self.published = state.publisher.accepted
        self.frames = sum(s.frames for s in state.subscribers)
        self.deliveries = sum(c["delivered"] for c in state.counts.values())


class View:
    def __init__(self, state, live):
        self.state, self.live = state, live
        self.history = deque()
        self.drawn = 0
        self.sample_frame = self.sample_slack = None
        self.sample_until = 0.0

    async def run(self):
        """Until cancelled; the last state is drawn then."""
        try:
            if self.live:
                sys.stdout.write("\x1b[?25l")
            while True:
                await self.state.refresh()
                self.draw()
                await asyncio.sleep(REDRAW_S if self.live else 1.0)
        finally:
            self.draw()
            if self.live:
                sys.stdout.write("\x1b[?25h")
                sys.stdout.flush()

    def draw(self):
        now = Totals(self.state)
        self.history.append(now)
        while len(self.history) > 2 and now.at - self.history[0].at > RATE_OVER_S:
            self.history.popleft()
        if self.live:
            self.redraw(now)
        else:
            print(self.line(now), flush=True)

    def rate(self, now, what):
        before = self.history[0]
        seconds = now.at - before.at
        return (getattr(now, what) - getattr(before, what)) / seconds if seconds > 0 else 0.0

    def clock(self):
        minutes = 8 * 60 + int(self.state.publisher.day_s / 60)
        return f"{minutes // 60:02}:{minutes % 60:02}"

    def line(self, now):
        publisher, counts = self.state.publisher, self.state.counts.values()
        return (f"{self.clock()} {publisher.progress:4.0%}  published {now.published:,} ({self.rate(now, 'published'):.0f}/s)"
                f"  frames {now.frames:,} ({self.rate(now, 'frames'):.0f}/s)"
                f"  deliveries {now.deliveries:,} ({self.rate(now, 'deliveries'):.0f}/s)"
                f"  retries {sum(c['repeated'] for c in counts)}  leaked {sum(len(s.leaked) for s in self.state.subscribers)}"
                f"  unverified {sum(c['unverified'] for c in counts)}  | {self.state.phase}")

    def redraw(self, now):
        width, height = shutil.get_terminal_size((100, 30))
        lines = self.block(now, width - 1)[:max(8, min(HEIGHT, height - 1))]
        back = f"\x1b[{self.drawn}F" if self.drawn else ""
        sys.stdout.write(back + "".join(f"\x1b[2K{line}{PLAIN}\n" for line in lines) + "\x1b[0J")
        sys.stdout.flush()
        self.drawn = len(lines)

    def block(self, now, width):
        self.choose_samples()
        publisher = self.state.publisher
        room = max(10, width - 30)
        filled = int(room * publisher.progress)
        lines = [f"{BOLD}Jackfield{PLAIN}  {self.clock()}  {GREEN}{'█' * filled}{DIM}{'░' * (room - filled)}{PLAIN} {publisher.progress:5.0%}",
                 cut(f"{self.state.phase}", width),
                 cut(f"published {now.published:>7,} {self.rate(now, 'published'):6.0f}/s     frames {now.frames:>7,} "
                     f"{self.rate(now, 'frames'):6.0f}/s     deliveries {now.deliveries:>7,} {self.rate(now, 'deliveries'):6.0f}/s", width),
                 "", DIM + cut(f"{'':16}{'frames':>9}{'delivered':>11}{'retries':>9}{'leaked':>8}{'unverified':>12}", width)]
        lines += [self.tenant_line(tenant, width) for tenant in self.state.tenants]
        lines += [cut(f"plugin: {self.state.swap.state}", width), "", DIM + "a frame on a socket"]
        lines += [cut(line, width) for line in wrapped(self.sample_frame, width, 3)]
        lines += [DIM + "a delivery as the Slack plugin made it"]
        lines += pretty(self.sample_slack, HEIGHT - len(lines) - 1, width)
        return lines

    def tenant_line(self, tenant, width):
        subscribers = [s for s in self.state.subscribers if s.tenant == tenant]
        counts = [self.state.counts[h.name] for h in self.state.hooks if h.tenant == tenant and h.name in self.state.counts]
        leaked, unverified = sum(len(s.leaked) for s in subscribers), sum(c["unverified"] for c in counts)
        text = cut(f"{tenant:16}{sum(s.frames for s in subscribers):>9,}{sum(c['delivered'] for c in counts):>11,}"
                   f"{sum(c['repeated'] for c in counts):>9,}{leaked:>8}{unverified:>12}", width)
        return (RED if leaked or unverified else "") + text

    def choose_samples(self):
        """A new pair every two seconds: long enough to be read."""
        if time.monotonic() < self.sample_until:
            return
        first = self.state.subscribers[0] if self.state.subscribers else None
        self.sample_frame = first and first.sample
        slack = [self.state.counts[h.name]["sample"] for h in self.state.hooks if h.makes_slack and h.name in self.state.counts]
        self.sample_slack = next((s for s in slack if s), None)
        if self.sample_frame and self.sample_slack:
            self.sample_until = time.monotonic() + SAMPLE_S


def cut(text, width):
    return text if len(text) <= width else text[:width - 1] + "…"


def wrapped(frame, width, lines):
    """A frame over a few lines, cut."""
    if not frame:
        return ["(none yet)"] + [""] * (lines - 1)
    text = json.dumps(json.loads(frame), ensure_ascii=False)
    parts = [text[i:i + width] for i in range(0, len(text), width)]
    if len(parts) > lines:
        parts[lines - 1] = parts[lines - 1][:-1] + "…"
    return (parts + [""] * lines)[:lines]
