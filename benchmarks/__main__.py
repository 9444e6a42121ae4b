"""Runs benchmarks: `python -m benchmarks` for all, or with names, such as `python -m benchmarks decoder serving`.

Prints a table per benchmark, adds the figures to build/bench.json, and writes the README's table from that file.
"""

from __future__ import annotations

import argparse
import importlib

from benchmarks.report import save, show, write_readme

NAMES = (
    "decoder",
    "encoder",
    "fidelity",
    "serving",
    "segmentation",
    "registration",
    "fusion",
    "stones",
    "pose",
    "points",
    "load",
    "preencoding",
    "replicas",
    "replicas_simulation",
)
# Half an hour of prompts; by name only.
LONG = ("memory",)


def main() -> None:
    """Parses the command line and runs what it names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES + LONG))
    parser.add_argument("--readme", action="store_true", help="write the README's table too")
    options = parser.parse_args()
    for name in options.names:
        figures = importlib.import_module(f"benchmarks.{name}").measure()
        show(name, figures)
        save(figures)
    if options.readme:
        write_readme()


if __name__ == "__main__":
    main()
