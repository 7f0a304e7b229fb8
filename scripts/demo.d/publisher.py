"""Publishes the day on its schedule, with a bounded number of requests at once. An event that was not answered is sent
again with the same id until it is, so that a killed server costs time and nothing else."""

import asyncio
import time
from dataclasses import dataclass
from typing import Optional

import aiohttp

CONCURRENCY = 64
GIVE_UP_S = 60
RETRY_PAUSE_S = 0.1


@dataclass
class Sent:
    """What became of one event. Times are seconds since the epoch."""
    first_at: float
    answered_at: Optional[float] = None
    status: int = 0
    tries: int = 0
    duplicate: bool = False
    why: str = ""

    @property
    def accepted(self):
        return self.status == 202


class Publisher:
    def __init__(self, url, tokens, events, speed):
        self.url, self.tokens, self.events, self.speed = url, tokens, events, speed
        self.sent = {}           # event id → Sent
        self.accepted = 0
        self.began = None
        self.scheduled = 0

    @property
    def progress(self):
        """Share of the events that were handed to a request."""
        return self.scheduled / len(self.events)

    @property
    def day_s(self):
        """The simulated clock: seconds since 08:00."""
        if self.began is None:
            return 0.0
        return min((time.monotonic() - self.began) * self.speed, self.events[self.scheduled - 1].at_s)

    async def run(self):
        slots = asyncio.Semaphore(CONCURRENCY)
        last_of_lane, tasks = {}, set()
        connector = aiohttp.TCPConnector(limit=CONCURRENCY, keepalive_timeout=30)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=15)) as session:
            self.began = time.monotonic()
            for event in self.events:
                early_s = self.began + event.at_s / self.speed - time.monotonic()
                if early_s > 0:
                    await asyncio.sleep(early_s)
                await slots.acquire()
                task = asyncio.create_task(self.publish(session, event, last_of_lane.get(event.lane), slots))
                last_of_lane[event.lane] = task
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                self.scheduled += 1
            await asyncio.gather(*tasks)

    async def publish(self, session, event, before, slots):
        """Cannot deadlock on `before`: it took its slot earlier."""
        try:
            if before is not None:
                await asyncio.wait([before])
            sent = self.sent[event.id] = Sent(first_at=time.time())
            headers = {"Authorization": "Bearer " + self.tokens[event.tenant], "Content-Type": "application/json"}
            while time.time() - sent.first_at < GIVE_UP_S:
                sent.tries += 1
                try:
                    async with session.post(self.url + "/api/v1/events", data=event.body, headers=headers) as response:
                        sent.status, text = response.status, await response.text()
                        if response.status == 202:
                            sent.answered_at = time.time()
                            sent.duplicate = '"duplicate":true' in text.replace(" ", "")
                            self.accepted += 1
                            return
                        sent.why = text[:300]
                        if response.status < 500 and response.status != 429:
                            return  # a refusal: sending it again would not help
                        pause_s = retry_after_s(response.headers)
                except (aiohttp.ClientError, asyncio.TimeoutError) as error:
                    sent.why = f"{type(error).__name__}: {error}"
                    pause_s = RETRY_PAUSE_S
                await asyncio.sleep(pause_s)
        finally:
            slots.release()


def retry_after_s(headers):
    value = headers.get("Retry-After", "")
    return min(float(value), 5.0) if value.isdigit() and value != "0" else RETRY_PAUSE_S
