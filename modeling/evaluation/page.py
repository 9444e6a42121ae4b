"""The report as one HTML file that needs nothing else: tables, plots and the worst cases as pictures."""

import base64
from collections.abc import Sequence
from html import escape

from modeling.evaluation import plots
from modeling.evaluation.evaluate import Findings
from modeling.evaluation.tables import Table

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ddd; padding: .2em .7em; text-align: left }
th { border-bottom: 2px solid #888 }
.wide { overflow-x: auto } .worst img { margin: .3em } .warn { font-weight: bold; color: #a00 }
"""


def html(lines: Sequence[str], findings: Findings, shown: Sequence[Table]) -> str:
    """The page.

    Args:
        lines: what was evaluated, a Markdown list.
        findings: for plots and pictures.
        shown: the tables.
    """
    items = "".join(f"<li>{escape(line.removeprefix('- '))}</li>" for line in lines)
    parts = [
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Hilum: evaluation</title>",
        f"<style>{_STYLE}</style></head><body><h1>Evaluation</h1><p class='warn'>Not for diagnosis.</p>",
        f"<ul>{items}</ul>",
        *(_image(png, name) for name, png in _plots(findings) if png),
        *map(_table, shown),
        *_worst(findings),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _plots(findings: Findings) -> list[tuple[str, bytes | None]]:
    drawn = (("Dice by protocol", plots.dice_plot), ("Dice by clicks", plots.clicks_plot))
    return [
        *((name, draw(findings.outcomes)) for name, draw in drawn),
        ("Reliability of the model score", plots.reliability_plot(findings.outcomes)),
    ]


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    body = f"<div class='wide'><table><tr>{head}</tr>{rows}</table></div>"
    return f"<h2>{escape(table.title)}</h2><p>{escape(table.note)}</p>{body}"


def _worst(findings: Findings) -> list[str]:
    parts = [
        "<h2>Worst cases</h2><p>Green: target. Red: answer. Yellow: prompt. Dice, or IoU of boxes, in the title.</p>"
    ]
    for (model, protocol), cases in findings.worst.items():
        pictures = "".join(_image(plots.worst_picture(case), f"{case.sample.name}, {protocol}") for case in cases)
        parts.append(f"<h3>{escape(model)}, {escape(protocol)}</h3><div class='worst'>{pictures}</div>")
    return parts


def _image(png: bytes, name: str) -> str:
    return f"<img alt='{escape(name, quote=True)}' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"
