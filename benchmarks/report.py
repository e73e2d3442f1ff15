"""Tables for people, JSON for programs, and a chart."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .harness import Figure, Group, Lab
from .suites import Outcome, Table
from .targets import compare

PACKAGES = (
    "Django",
    "djangorestframework",
    "PyJWT",
    "cryptography",
    "djangorestframework-simplejwt",
    "django-rest-knox",
)


def show(outcome: Outcome) -> None:
    """Print what a suite found."""
    for table in _tables(outcome):
        _print(table)


def show_targets(figures: Mapping[str, Figure], vendor: str) -> None:
    """Print how the figures compare with the targets, and name those that fall short."""
    table = _targets(figures, vendor)
    _print(table)
    short = [row[4] for row in table.rows if row[0] == "FALLS SHORT"]
    print(f"\n{len(table.rows)} targets measured, {len(short)} fall short." + "".join(f"\n- {what}" for what in short))


def write(path: Path, lab: Lab, environment: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> None:
    """Write JSON and chart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = {key: figure for outcome in outcomes.values() for key, figure in outcome.figures.items()}
    content = {
        "environment": environment,
        "plan": asdict(lab.plan),
        "targets": [[*target, figure.value, verdict] for target, _, figure, verdict in compare(figures, lab.vendor)],
        "suites": {suite: asdict(outcome) for suite, outcome in outcomes.items()},
    }
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    groups = [group for outcome in outcomes.values() for group in outcome.groups]
    path.with_suffix(".svg").write_text(chart(groups))
    print(f"\nWritten: {path}.json and .svg")


def write_into(page: Path, lab: Lab, environment: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> None:
    """Replace what a page in Markdown says between the marks of this database, and draw the chart beside it."""
    begin, end = f"<!-- figures: {lab.vendor} -->\n", f"<!-- end of figures: {lab.vendor} -->\n"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page} has no {begin.strip()} before a {end.strip()}")
    drawing = page.with_name(f"{page.stem}-{lab.vendor}.svg")
    drawing.write_text(chart([group for outcome in outcomes.values() for group in outcome.groups]))
    figures = {key: figure for outcome in outcomes.values() for key, figure in outcome.figures.items()}
    tables = [
        _targets(figures, lab.vendor),
        *(table for outcome in outcomes.values() for table in _tables(outcome) if table.rows),
    ]
    circumstances = ", ".join(f"{name} {value}" for name, value in _flat(environment))
    parts = [f"{circumstances}.", f"![The times as bars]({drawing.name})", *map(_markdown, tables)]
    page.write_text(before + begin + "\n" + "\n\n".join(parts) + "\n\n" + end + after)


def environment(lab: Lab) -> dict[str, Any]:
    """Return what the figures depend on; to be asked before the first suite."""
    found: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load average": os.getloadavg()[0],
        "database": "sqlite, WAL, synchronous=NORMAL",
        **{package: version(package) for package in PACKAGES},
    }
    if lab.vendor == "postgresql":
        settings = ("server_version", "fsync", "synchronous_commit", "shared_buffers", "autovacuum")
        found["database"] = {name: lab.execute(f"SHOW {name}")[0][0] for name in settings}
    return found


def chart(groups: list[Group]) -> str:
    """Draw each group as bars on a scale of its own."""
    parts, y = [], 0
    for group in groups:
        y += 34
        parts.append(f'<text class="title" x="12" y="{y}">{escape(group.title)}: microseconds a call</text>')
        y += 12
        times = {work: Figure.of(seconds) for work, seconds in group.seconds.items()}
        longest = max(time.value for time in times.values())
        for work, time in times.items():
            width = max(1.0, 380 * time.value / longest)
            kind = "other" if work.startswith(("simplejwt", "knox", "no ")) else "ours"
            parts.append(
                f'<text x="12" y="{y + 12}">{escape(work)}</text>'
                f'<rect class="{kind}" x="310" y="{y}" width="{width:.1f}" height="15"/>'
                f'<text x="{316 + width:.1f}" y="{y + 12}">{_number(time.value * 1e6)}</text>'
            )
            y += 20
    style = (
        "text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}.ours{fill:#0a7d5a}.other{fill:#8a94a3}"
        "@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.ours{fill:#3ecf9d}.other{fill:#7b8694}}"
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {y + 14}" width="780" height="{y + 14}" role="img">'
    )
    return f"{head}<title>Microseconds a call</title><style>{style}</style>{''.join(parts)}</svg>\n"


def _targets(figures: Mapping[str, Figure], vendor: str) -> Table:
    table = Table(f"targets, {vendor}", ["", "wanted", "found", "spread", "what", "at"])
    for target, number, figure, verdict in compare(figures, vendor):
        wanted = f"{'>=' if target.floor else '<='} {number:g}"
        table.rows.append([verdict, wanted, figure.value, f"{figure.spread:.0%}", target.meaning, figure.note])
    return table


def _tables(outcome: Outcome) -> list[Table]:
    return [*(_timings(group) for group in outcome.groups), *outcome.tables]


def _timings(group: Group) -> Table:
    first = next(iter(group.seconds))
    table = Table(group.title, ["", "us a call", "spread", "times the first", "spread", "queries"])
    for work, seconds in group.seconds.items():
        time, ratio = Figure.of(seconds), group.ratio(work, first)
        queries = group.queries.get(work, "-")
        spreads = [f"{figure.spread:.1%}" for figure in (time, ratio)]
        table.rows.append([work, time.value * 1e6, spreads[0], ratio.value, spreads[1], queries])
    return table


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _flat(environment: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs = []
    for name, value in environment.items():
        pairs += [*value.items()] if isinstance(value, Mapping) else [(name, value)]
    return pairs


def _markdown(table: Table) -> str:
    if table.columns == ["plan"]:
        return f"**{table.title}**\n\n```text\n" + "\n".join(row[0] for row in table.rows) + "\n```"
    rows = [table.columns, ["---"] * len(table.columns), *([_number(cell) for cell in row] for row in table.rows)]
    return f"**{table.title}**\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _print(table: Table) -> None:
    rows = [table.columns, *([_number(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    numeric = [not isinstance(cell, str) or cell.endswith("%") for cell in table.rows[0]] if table.rows else widths
    print(f"\n{table.title}")
    for row in rows:
        cells = zip(row, widths, numeric, strict=True)
        print(
            "  " + "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip()
        )
