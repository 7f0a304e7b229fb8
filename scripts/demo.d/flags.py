"""The demo's flags, and paths as a person would write them."""

import argparse
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def parse():
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Replays a call centre's day through a fresh server, and judges.")
    parser.add_argument("--speed", type=positive, default=480, help="times faster than real time (default 480: a minute)")
    parser.add_argument("--keep", action="store_true", help="leave server and receiver running after the table")
    parser.add_argument("--plain", action="store_true", help="one line a second instead of the live view")
    parser.add_argument("--kill", action="store_true", help="kill -9 the server in the middle and start it again")
    parser.add_argument("--seed-file", default=ROOT / "examples/data/call-centre-day.ndjson", help="another day")
    parser.add_argument("--binary", default=pathlib.Path(target, "release/jackfield"), help="another server")
    parser.add_argument("--plugins", default=ROOT / "plugins/dist", help="another folder of components")
    options = parser.parse_args()
    if not pathlib.Path(options.binary).is_file():
        parser.exit(1, f"there is no server at {options.binary}: run scripts/setup\n")
    if not pathlib.Path(options.plugins, "slack.wasm").is_file():
        parser.exit(1, f"there is no slack.wasm in {options.plugins}: run scripts/setup\n")
    return options


def positive(text):
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def show(path):
    """A path as one would type it from the clone."""
    try:
        return str(pathlib.Path(path).resolve().relative_to(ROOT))
    except ValueError:
        return str(path)
