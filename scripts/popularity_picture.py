"""Popularity bias of several runs in one picture and one JSON file: what `python -m gru4rec.report` shows of each of them.

    python scripts/popularity_picture.py runs/defaults runs/logq runs/fast --svg docs/popularity.svg \
        --out docs/results/sample_bias.json

A run is called as its directory, and must have been evaluated on the test file that its report is made of. Run it with the
Python that ran the commands.
"""

import argparse
import html
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "scripts")]

import record_results  # noqa: E402

from gru4rec.report import __main__ as report  # noqa: E402
from gru4rec.report import rows, svg  # noqa: E402
from gru4rec.serving import model  # noqa: E402

LEGEND = 22  # height of a line of the legend
STYLE = "text{font:12px sans-serif;fill:#667488}.name{fill:#1d2733}.title{font-weight:600}.grid{stroke:#e7ecf1}"


def measured(directory):
    """report.bias.Bias of the newest model in the directory of an evaluated run."""
    trained, options = model.load(directory), report.ReportConfig(checkpoint_dir=directory)
    found = report.popularity_bias(options, trained, rows.read(directory))
    if isinstance(found, str):
        raise SystemExit("%s: %s" % (directory, found))
    return found


def standalone(label, groups, series):
    """Text of an SVG file: the report's chart of bars with its title and legend inside."""
    chart = re.search(r"<svg[^>]*>(.*)</svg>", svg.bars(label, groups, series), re.DOTALL).group(1)
    top, height = 26, 26 + svg.HEIGHT + LEGEND * len(series)
    names = "".join('<rect fill="%s" x="%d" y="%d" width="10" height="10"/><text class="name" x="%d" y="%d">%s</text>'
                    % (colour, svg.LEFT, top + svg.HEIGHT + LEGEND * at, svg.LEFT + 16, top + svg.HEIGHT + LEGEND * at + 10,
                       html.escape(name)) for at, ((name, _), colour) in enumerate(zip(series, svg.COLOURS)))
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s"><style>%s</style>'
            '<rect width="100%%" height="100%%" fill="#fff"/><text class="name title" x="12" y="18">%s</text>'
            '<g transform="translate(0 %d)">%s</g>%s</svg>\n'
            % (svg.WIDTH, height, html.escape(label, True), STYLE, html.escape(label), top, chart, names))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint_dir", nargs="+", help="directory of an evaluated run")
    parser.add_argument("--svg", required=True, help="picture to write")
    parser.add_argument("--out", required=True, help="JSON file to write")
    args = parser.parse_args(argv)
    found = {os.path.basename(os.path.abspath(path)): measured(path) for path in args.checkpoint_dir}
    first = next(iter(found.values()))
    series = [("next items of %d test sessions" % first.sessions, first.targets.tolist())]
    series += [("places in the lists of 20, %s" % name, bias.recommended.tolist()) for name, bias in found.items()]
    groups = ["%d %%" % (100 * (at + 1) // len(first.targets)) for at in range(len(first.targets))]
    with open(args.svg, "w", encoding="utf-8") as out:
        out.write(standalone("Share of each tenth of the items, the most popular first", groups, series))
    record_results.write(args.out, {
        "date": record_results.today(), "machine": record_results.machine(), "versions": record_results.versions(),
        "bias": {name: {key: value if key == "sessions" else value.tolist() for key, value in bias._asdict().items()}
                 for name, bias in found.items()}})
    for name, bias in found.items():
        print("%s: the most popular tenth of the items has %.1f %% of the next items and %.1f %% of the places"
              % (name, 100 * bias.targets[0], 100 * bias.recommended[0]))


if __name__ == "__main__":
    main()
