"""The two processes the driver starts, watches and ends: the server (the release binary) and the receiver."""

import asyncio
import os
import pathlib
import signal
import socket
import sys
import time

import aiohttp

START_LIMIT_S = 60
STOP_LIMIT_S = 10


class ProcessError(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """`jackfield serve` on SQLite in `folder`; its log is `folder/server.log`."""

    def __init__(self, binary, folder, jwt_secret):
        self.binary, self.port = binary, free_port()
        self.url, self.ws_url = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}"
        self.log = pathlib.Path(folder, "server.log")
        self.folder = folder
        self.process = None
        # Nothing of the caller's environment but what a program needs to run: a DATABASE_URL there is not for us.
        self.environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.environment.update(
            SERVER_HOST="127.0.0.1", SERVER_PORT=str(self.port), DATABASE_URL=f"sqlite://{folder}/demo.db",
            JWT_SECRET=jwt_secret, PLUGIN_DIR=f"{folder}/plugins", PLUGIN_CACHE_DIR=f"{folder}/plugin-cache",
            WEBHOOK_ALLOW_NETS="127.0.0.0/8", WEBHOOK_RETRY_SCHEDULE="1s,2s,5s")

    async def start(self):
        """Returns when the server has logged its last start-up line and answers ready; seconds it took."""
        began = time.monotonic()
        offset = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(self.binary), "serve", cwd=self.folder, env=self.environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        while not (b"Starting server on" in self.log.read_bytes()[offset:] and await self.is_ready()):
            if self.process.returncode is not None:
                raise ProcessError(f"the server ended with status {self.process.returncode}:\n{self.log_tail()}")
            if time.monotonic() - began > START_LIMIT_S:
                raise ProcessError(f"the server was not ready within {START_LIMIT_S} s:\n{self.log_tail()}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def is_ready(self):
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
                async with session.get(self.url + "/readyz") as response:
                    return response.status == 200
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    async def kill(self):
        self.process.kill()
        await self.process.wait()

    async def stop(self):
        await end(self.process)

    def log_tail(self, lines=20):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join("    " + line for line in text.splitlines()[-lines:])


class Receiver:
    """receiver.py in its own process, and its counts."""

    def __init__(self):
        self.process = self.url = self.session = None

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(pathlib.Path(__file__).with_name("receiver.py")),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True)
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), START_LIMIT_S)
            self.url = f"http://127.0.0.1:{int(line)}"
        except (ValueError, asyncio.TimeoutError):
            raise ProcessError("the webhook receiver did not start") from None
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))

    def hook_url(self, name):
        return f"{self.url}/hook/{name}"

    async def register(self, name, signing_secret):
        async with self.session.put(f"{self.url}/hooks/{name}", json={"signing_secret": signing_secret}) as response:
            response.raise_for_status()

    async def get(self, what):
        async with self.session.get(f"{self.url}/{what}") as response:
            return await response.json()

    async def stop(self):
        if self.session:
            await self.session.close()
        await end(self.process)


async def end(process):
    """SIGTERM, and SIGKILL for one that does not listen."""
    if process is None or process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
