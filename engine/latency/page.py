"""The page of a measurement: one HTML file that holds its figures, its plots and its data."""

import json
import re
from collections.abc import Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.latency.analysis import summary

_MARK: Final = '<script type="application/json" id="measurement">'
_SERIES: Final = (
    ("sound_ms", "sound", "input to ear, less the contract"),
    ("picture_ms", "picture", "input to screen, less the contract; a frame is half of one early or late"),
    ("skew_ms", "skew", "picture after sound"),
)
_HEADS: Final = ("deviation, ms", "contract", "p50", "p99", "p99.9", "min", "max", "of")
_INK, _COLOURS = "#c8c8c8", ("#ffb454", "#59c2ff")
_STYLE: Final = """
body { background: #101216; color: #c8c8c8; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2em auto; max-width: 62em }
h1, h2 { font-weight: 500; color: #fff } table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .9em; text-align: right; border-bottom: 1px solid #2a2d33 }
td:first-child, th:first-child { text-align: left } svg { width: 100%; height: auto } small { color: #8a8f98 }
"""


def write(path: Path, measurements: Sequence[dict[str, Any]]) -> None:
    """Write the page of one measurement, or of two side by side; RuntimeError where matplotlib is missing."""
    body = [f"<h1>{escape(' and '.join(each['title'] for each in measurements))}</h1>"]
    body += [_facts(each) for each in measurements]
    body.append(table_html(measurements))
    body += [
        f"<h2>{name}</h2><small>{meaning}</small>{_plot(measurements, key)}"
        for key, name, meaning in _SERIES
        if any(key in each for each in measurements)
    ]
    body += [_late_frames(each) for each in measurements if "frames" in each]
    data = json.dumps(measurements[0] if len(measurements) == 1 else list(measurements)).replace(
        "<", "\\u003c"
    )
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Latency</title><style>{_STYLE}</style>'
        f"{''.join(body)}{_MARK}{data}</script></html>\n",
        encoding="utf-8",
    )


def read(path: Path) -> dict[str, Any]:
    """Return the measurement that a page (or a JSON file of it) holds; ValueError where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or 'no text'}") from None
    found = re.search(re.escape(_MARK) + "(.*?)</script>", text, re.DOTALL)
    try:
        data = json.loads(found[1] if found else text)
    except ValueError:
        raise ValueError(f"{path}: no measurement in it; chladni latency --report writes one") from None
    if not isinstance(data, dict) or not data.keys() & {key for key, _, _ in _SERIES}:
        raise ValueError(f"{path}: no single measurement in it")
    return data


def table(measurements: Sequence[dict[str, Any]]) -> str:
    """Return the figures as text, a line for each series of each measurement."""
    first, *others, of = _HEADS
    head = f"  {first:<22}" + "".join(f"{each:>9}" for each in others) + f"{of:>7}"
    rows = [f"  {name:<22}" + "".join(cells) for name, cells in _rows(measurements)]
    return "\n".join([head, *rows, *(f"  {told}" for each in measurements if (told := _looks(each)))])


def table_html(measurements: Sequence[dict[str, Any]]) -> str:
    """Return the figures as a table."""
    rows = [f"<tr>{''.join(f'<th>{head}</th>' for head in _HEADS)}</tr>"]
    rows += [
        f"<tr><td>{name}</td>{''.join(f'<td>{cell.strip()}</td>' for cell in cells)}</tr>"
        for name, cells in _rows(measurements)
    ]
    return f"<table>{''.join(rows)}</table><small>p99 and p99.9 are of the size, whatever the sign.</small>"


def _rows(measurements: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    rows = []
    for number, each in enumerate(measurements):
        for key, name, _ in _SERIES:
            if key not in each:
                continue
            values = summary(each[key])
            contract = each.get(key.replace("_ms", "_contract_ms"))
            figures = [contract, *(values[column] for column in ("p50", "p99", "p999", "min", "max"))]
            cells = [f"{'-' if figure is None else f'{figure:.2f}':>9}" for figure in figures]
            label = name if len(measurements) == 1 else f"{'AB'[number]} {name}"
            rows.append((label, [*cells, f"{values['count']:>7}"]))
    return rows


def _looks(each: dict[str, Any]) -> str:
    if not (looks := each.get("looks_ms")):
        return ""
    return f"the moment of a frame is known to {looks['p50']:.1f} ms ({looks['max']:.1f} at worst)"


def _facts(each: dict[str, Any]) -> str:
    stress = ", ".join(each.get("stress", ())) or "none"
    facts = [each.get("when", ""), each.get("server", "a film"), f"stress: {stress}"]
    facts.append(f"tight {each.get('tight', '-')}")
    if "frames" in each:
        frames = each["frames"]
        facts.append(f"{len(frames['missing'])} of {frames['due']} frames were never seen")
    if looks := _looks(each):
        facts.append(looks)
    return f"<p>{escape(' · '.join(facts))}</p>"


def _plot(measurements: Sequence[dict[str, Any]], key: str) -> str:
    """Return a histogram and a time line as one inline SVG."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RuntimeError("the page needs matplotlib: pip install 'chladni[latency]'") from None
    figure = Figure(figsize=(10, 2.8), layout="constrained", facecolor="none")
    histogram, line = figure.subplots(1, 2, width_ratios=(1, 2))
    for axes in (histogram, line):
        axes.set_facecolor("none")
        axes.tick_params(colors=_INK)
        for spine in axes.spines.values():
            spine.set_color("#2a2d33")
    for each, colour in zip(measurements, _COLOURS, strict=False):
        values = np.array(each.get(key, ()), np.float64)  # NaN where there is none
        known = ~np.isnan(values)
        at_s = np.array(each.get("at_s", ()))  # a film has none
        if known.any():
            histogram.hist(values[known], bins=60, color=colour, alpha=0.7, log=True)
        if len(at_s) == len(values):
            line.plot(at_s[known], values[known], ".", color=colour, markersize=2)
    histogram.set_xlabel("ms", color=_INK)
    line.set_xlabel("s", color=_INK)
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _late_frames(each: dict[str, Any]) -> str:
    frames = each["frames"]
    rows = "".join(f"<tr><td>{tick}</td><td>{second:.2f}</td></tr>" for tick, second in frames["missing"])
    if not rows:
        return "<h2>Late frames</h2><p>Each frame was seen.</p>"
    return f"<h2>Late frames</h2><table><tr><th>tick</th><th>second</th></tr>{rows}</table>"
