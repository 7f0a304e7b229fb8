"""Replaces the Slack plugin's file under load: the same component with one custom section more, so another sha256."""

import asyncio
import hashlib
import os
import pathlib
import time

PLUGIN = "shared/slack"
LIMIT_S = 30


def leb128(number):
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def with_custom_section(component, name, data):
    """WebAssembly allows custom sections (id 0) at the end of a component; they change nothing it does."""
    content = leb128(len(name)) + name + data
    return component + b"\x00" + leb128(len(content)) + content


class Swap:
    """`state` is for people; `done` says that the server serves the new file."""

    def __init__(self, plugin_dir):
        self.file = pathlib.Path(plugin_dir, "slack.wasm")
        self.state, self.done = "not yet", False

    async def run(self, admin):
        before = (await admin.plugins())[PLUGIN]
        component = with_custom_section(self.file.read_bytes(), b"demo", b"replaced while events flow")
        new = hashlib.sha256(component).hexdigest()
        partial = self.file.with_name(".slack.wasm.partial")
        partial.write_bytes(component)
        os.replace(partial, self.file)
        began = time.monotonic()
        self.state = "file replaced, waiting for the server"
        while time.monotonic() - began < LIMIT_S:
            now = (await admin.plugins())[PLUGIN]
            if now.get("sha256") == new and now.get("sha256") != before.get("sha256"):
                self.done = True
                self.state = (f"{PLUGIN} {version(before)} → {version(now)}, live {time.monotonic() - began:.1f} s "
                              "after its file was replaced")
                return
            await asyncio.sleep(0.1)
        self.state = f"{PLUGIN} still {version(now)} {LIMIT_S} s after its file was replaced (last_error: {now.get('last_error')})"


def version(plugin):
    active = plugin.get("active_version", plugin.get("version", plugin.get("active", "?")))
    return f"v{active} ({str(plugin.get('sha256'))[:8]})"
