"""Write the popularity bias of several runs as a picture and as JSON.

    python scripts/popularity_picture.py runs/defaults runs/logq runs/fast \\
        --svg docs/evidence/popularity.svg --out docs/results/sample_bias.json

It is the bias that `python -m gru4rec.report` shows. A run has the name of its directory. It must
have been trained and evaluated on the bundled sample; the best possible lists for the sample are
shown beside it. Run it with the Python that ran the commands.
"""

import argparse
import html
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "scripts")]

import numpy as np  # noqa: E402
import record_results  # noqa: E402

from gru4rec.data import click_process, synthetic  # noqa: E402
from gru4rec.recommend import model  # noqa: E402
from gru4rec.report import __main__ as report  # noqa: E402
from gru4rec.report import bias, svg  # noqa: E402
from gru4rec.runlog import rows  # noqa: E402

TITLE = "Share of each tenth of the items, the most popular first"
TOP, LEGEND = 26, 22  # heights of the title and of a line of the legend
STYLE = ("text{font:12px sans-serif;fill:#667488}.name{fill:#1d2733}.title{font-weight:600}"
         ".grid{stroke:#e7ecf1}")
PAGE = ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">'
        '<style>%s</style><rect width="100%%" height="100%%" fill="#fff"/>'
        '<text class="name title" x="12" y="18">%s</text><g transform="translate(0 %d)">%s</g>%s'
        '</svg>\n')
NAME = ('<rect fill="%s" x="%d" y="%d" width="10" height="10"/>'
        '<text class="name" x="%d" y="%d">%s</text>')


def measured(directory):
    """report.bias.Bias of the newest model in the directory of an evaluated run."""
    trained, options = model.load(directory), report.ReportConfig(checkpoint_dir=directory)
    measured_bias = report.popularity_bias(options, trained, rows.read(directory))
    if isinstance(measured_bias, str):
        raise SystemExit("%s: %s" % (directory, measured_bias))
    return measured_bias


def best_lists():
    """[10] share of each tenth in the best possible lists for the bundled sample.

    Such lists come from a model that knows how the sample was made.
    """
    process = click_process.make_process(synthetic.SEED)
    items, offsets = click_process.draw_sessions(process, synthetic.NUM_SESSIONS,
                                                 synthetic.SEED + 1)
    first_test = synthetic.NUM_SESSIONS * (synthetic.NUM_DAYS - 1) // synthetic.NUM_DAYS
    support = np.bincount(items[:offsets[first_test]], minlength=len(process.pop))
    group, count = np.empty(len(support), np.int64), len(support)
    group[np.argsort(-support, kind="stable")] = np.arange(count) * bias.GROUPS // count
    offsets = offsets[first_test:]
    chosen = np.linspace(0, len(offsets) - 2, bias.SESSIONS).astype(int)
    length, end = np.diff(offsets)[chosen], offsets[chosen + 1]
    before = np.where(length > 2, items[end - 3], -1)
    true = click_process.next_item(process, items[end - 2], before)
    best = np.argsort(-true, axis=1, kind="stable")[:, :bias.K]
    return np.bincount(group[best.ravel()], minlength=bias.GROUPS) / float(best.size)


def standalone(label, groups, series):
    """Text of an SVG file: the report's chart of bars with its title and legend inside."""
    chart = svg.bars(label, groups, series)
    chart = re.search(r"<svg[^>]*>(.*)</svg>", chart, re.DOTALL).group(1)
    names = []
    for at, ((name, _), colour) in enumerate(zip(series, svg.COLOURS)):
        y = TOP + svg.HEIGHT + LEGEND * at
        names.append(NAME % (colour, svg.LEFT, y, svg.LEFT + 16, y + 10, html.escape(name)))
    return PAGE % (svg.WIDTH, TOP + svg.HEIGHT + LEGEND * len(series), html.escape(label, True),
                   STYLE, html.escape(label), TOP, chart, "".join(names))


def lines(targets, places):
    """Lines to print: the shares of the most popular tenth of the items.

    Args:
      targets: [10] shares of the next items.
      places: {name: [10] shares of the places in lists}.
    """
    first = ["next items: %.1f %%" % (100 * targets[0])]
    return first + ["places in the lists, %s: %.1f %%" % (name, 100 * shares[0])
                    for name, shares in places.items()]


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint_dir", nargs="+", help="directory of an evaluated run")
    parser.add_argument("--svg", required=True, help="picture to write")
    parser.add_argument("--out", required=True, help="JSON file to write")
    args = parser.parse_args(argv)
    runs = {os.path.basename(os.path.abspath(path)): measured(path)
            for path in args.checkpoint_dir}
    first, best = next(iter(runs.values())), best_lists()
    places = {name: run.recommended for name, run in runs.items()}
    places["the best there can be"] = best
    series = [("next items of %d test sessions" % first.sessions, first.targets.tolist())]
    series += [("places in the lists of %d, %s" % (bias.K, name), shares.tolist())
               for name, shares in places.items()]
    groups = ["%d %%" % (100 * (at + 1) // bias.GROUPS) for at in range(bias.GROUPS)]
    with open(args.svg, "w", encoding="utf-8") as out:
        out.write(standalone(TITLE, groups, series))
    of_runs = {name: {key: value if key == "sessions" else value.tolist()
                      for key, value in run._asdict().items()} for name, run in runs.items()}
    record_results.write(args.out, dict(record_results.origin(), best=best.tolist(), bias=of_runs))
    print("\n".join(lines(first.targets, places)))


if __name__ == "__main__":
    main()
