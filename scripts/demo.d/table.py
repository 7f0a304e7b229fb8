"""Prints the verdict: one table, what the plugins cost, and what is wrong."""

from verdict import quantile

ROWS = [
    ("published", "published", None), ("accepted (202)", "accepted", None), ("  answered again, same id", "again", None),
    ("seen by sockets", "frames", "frames_owed"), ("delivered to webhooks", "delivered", "delivered_owed"),
    ("dropped by filters", "dropped", "dropped_owed"), ("retried", "retried", None), ("duplicates", "duplicates", None),
    ("leaked", "leaked", None), ("unverified", "unverified", None), ("changed frames", "altered", None), ("lost", "lost", None),
]


def table(columns, sockets_ms, webhooks_ms, plugins):
    """Lines. `columns`: tenant → Column; latencies in milliseconds; `plugins`: the server's list."""
    names = list(columns)
    widths = [max(18, len(name)) for name in names] + [18]
    ruler = "─" * (26 + sum(widths) + 2 * len(widths))
    lines = [ruler, f"{'':26}" + "".join(f"  {name:>{w}}" for name, w in zip(names + ["together"], widths)), ruler]
    for title, attribute, owed in ROWS:
        values = [(getattr(c, attribute), owed and getattr(c, owed)) for c in columns.values()]
        values.append((sum(v for v, _ in values), owed and sum(o for _, o in values)))
        cells = [f"{v:,} of {o:,}" if owed else f"{v:,}" for v, o in values]
        lines.append(f"{title:26}" + "".join(f"  {cell:>{w}}" for cell, w in zip(cells, widths)))
    lines.append(ruler)
    for title, values in (("publish to socket", sockets_ms), ("publish to webhook", webhooks_ms)):
        lines.append(f"{title:26}  p50 {number(quantile(values, 0.50))} ms   p99 {number(quantile(values, 0.99))} ms"
                     f"   ({len(values):,} measured, this driver included)")
    for name, plugin in sorted(plugins.items()):
        if plugin.get("calls"):
            times = plugin.get("microseconds") or {}
            lines.append(f"{'plugin ' + name:26}  p50 {number(times.get('p50'))} µs   p99 {number(times.get('p99'))} µs"
                         f"   ({plugin['calls']:,} calls)")
    return lines + [ruler]


def number(value):
    return f"{value:8.2f}" if isinstance(value, (int, float)) else f"{'–':>8}"
