"""Plot ms/step over the catalogue, from reports of bench_train.py. Needs the extra `plots`."""

import argparse
import json
import os

import common
from bench_train import BASE

SIZES = {name: BASE[name] for name in ("batch_size", "size")}


def points(paths):
    """The points of all reports that have the batch and size of SIZES.

    Returns: dict label -> list of (items, {"median", "min", "max"}).
    """
    curves = {}
    for path in paths:
        with open(path, encoding="utf-8") as source:
            report = json.load(source)
        version = "TensorFlow %s" % report["versions"]["tensorflow"]
        for row in report["results"]:
            if all(row[name] == value for name, value in SIZES.items()):
                for variant, ms in row["ms_per_step"].items():
                    label = "%s, %s" % (variant, "numpy" if variant == "products" else version)
                    curves.setdefault(label, {})[row["items"]] = ms
    return {label: sorted(rows.items()) for label, rows in curves.items()}


def draw(curves, variants, path):
    """Draw a line for each label of these variants; bars are fastest and slowest round."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    # The same data give the same file; text stays text.
    pyplot.rcParams.update({"svg.hashsalt": "gru4rec", "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(figsize=(7, 4.5), dpi=80)
    for label, rows in sorted(curves.items()):
        if label.split(",")[0] in variants and len(rows) > 1:
            middle = [ms["median"] for _, ms in rows]
            spread = [[ms["median"] - ms["min"] for _, ms in rows],
                      [ms["max"] - ms["median"] for _, ms in rows]]
            axes.errorbar([items for items, _ in rows], middle, yerr=spread, marker="o", capsize=3,
                          label=label)
    axes.set(xscale="log", yscale="log", xlabel="items in the catalogue",
             ylabel="ms per step (median, min to max)",
             title="batch_size %(batch_size)d, size %(size)d" % SIZES)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
    print("wrote %s" % path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", nargs="+", help="JSON reports of bench_train.py")
    parser.add_argument("--variants", default="original,loop,xla,products",
                        help="which to draw [%(default)s]")
    parser.add_argument("--out",
                        default=os.path.join(common.ROOT, "docs", "evidence", "ms_per_step.svg"),
                        help=".svg or .png [docs/evidence/ms_per_step.svg]")
    args = parser.parse_args()
    draw(points(args.reports), args.variants.split(","), args.out)


if __name__ == "__main__":
    main()
