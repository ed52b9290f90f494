"""Tables and pictures of a run: python -m benchmarks.report RESULTS.json [--out DIR].

RESULTS.json is what ``pytest benchmarks/ --benchmark-only --benchmark-json RESULTS.json`` wrote.
The Markdown goes to the standard output, or with --out to DIR/report.md, with the pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lenet_fast.bench import pictures, report


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", type=Path, help="JSON file of pytest-benchmark")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.md and pictures here")
    options = parser.parse_args(arguments)
    try:
        run = report.read(options.results)
        text = report.markdown(run)
        if options.out is None:
            print(text, end="")
            return
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.md").write_text(text, encoding="utf-8")
        print(options.out / "report.md")
        for path in pictures.draw(run, options.out):
            print(path)
    except (OSError, ValueError, ImportError) as error:
        raise SystemExit(f"benchmarks.report: error: {error}") from error


if __name__ == "__main__":
    main()
