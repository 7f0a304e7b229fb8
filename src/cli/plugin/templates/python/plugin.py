"""{{name}}: announces an incoming call as a line of text. The configuration is {"prefix": "Call from "}."""

# Whatever is imported must be imported here, at the top: the component holds what was loaded when it was built.
import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.lifecycle import About
from wit_world.imports.types import (
    Body_Text,
    Destination,
    Event,
    Failure,
    Output,
    Verdict,
    Verdict_Drop,
    Verdict_Emit,
)

prefix = "Incoming call from "


class Lifecycle(exports.Lifecycle):
    def describe(self) -> About:
        # `events`: what it understands; a chain skips it for others.
        return About(name="{{name}}", version="1.0.0", events=["call.*"], config_schema=None)

    def configure(self, config: str) -> None:
        """Runs once. Raising `Err` refuses the configuration, and the tenant reads the words."""
        global prefix
        fields = json.loads(config)
        for field in fields:
            if field != "prefix":
                raise Err(f"unknown field `{field}`: there is only `prefix`")
        prefix = fields.get("prefix", prefix)
        if not isinstance(prefix, str):
            raise Err("`prefix` must be a string")


class Transformer(exports.Transformer):
    def transform(self, to: Destination, event: Event) -> Verdict:
        caller = json.loads(event.data).get("caller")
        # `Err` fails this one event.
        if not isinstance(caller, str):
            raise Err(Failure("bad-input", "`caller` is missing, or no text"))
        if caller == "anonymous":
            return Verdict_Drop("anonymous caller")
        return emit({"text": prefix + caller})


def emit(body: object) -> Verdict:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Verdict_Emit(Output("application/json", [], Body_Text(text), []))
