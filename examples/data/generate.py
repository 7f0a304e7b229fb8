"""Makes call-centre-day.ndjson: eight hours of a 40-agent call centre of two tenants, simulated second by second.

    python3 examples/data/generate.py            writes call-centre-day.ndjson beside this file
    python3 examples/data/generate.py --out -    writes to standard output

Callers arrive on a curve (morning ramp, lunch dip, afternoon peak), wait in queues, lose patience, are held, transferred
and recorded; agents log in, take breaks, chat and go home. What happens when agents are busy follows from the simulation,
not from a script. The same seed makes the same bytes. Standard library only; it talks to nobody.

One line: {"at_s": seconds since the day began, "tenant": …, "event": a publish body of POST /api/v1/events}."""

import argparse
import json
import pathlib
import random
import sys

sys.dont_write_bytecode = True  # nothing but the data is left in the clone

import vocabulary as words  # noqa: E402
from simulation import Day  # noqa: E402

SEED = 20261122


def whole_day(seed):
    rng = random.Random(seed)
    firsts, lasts = list(words.FIRST_NAMES), list(words.LAST_NAMES)
    rng.shuffle(firsts)
    rng.shuffle(lasts)
    people = [f"{first} {last}" for first, last in zip(firsts, lasts)]
    events = []
    for tenant in words.TENANTS:
        events += Day(tenant, people, random.Random(f"{seed} {tenant}")).run()
    events.sort(key=lambda e: e[0])  # stable: what one tenant did at one instant keeps its order
    for number, (at_s, tenant, event) in enumerate(events, 1):
        event = {"type": event.pop("type"), "id": "evt_day_%05d" % number, **event}
        yield {"at_s": round(at_s, 3), "tenant": tenant, "event": event}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", default=str(pathlib.Path(__file__).with_name("call-centre-day.ndjson")))
    options = parser.parse_args()
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in whole_day(options.seed))
    if options.out == "-":
        sys.stdout.buffer.write(text.encode())
    else:
        pathlib.Path(options.out).write_bytes(text.encode())
        print(f"{options.out}: {text.count(chr(10))} events, {len(text.encode())} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
