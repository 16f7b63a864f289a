"""The page of a run as HTML; it needs no file or address besides itself."""

import html

from gru4rec.report import svg
from gru4rec.runlog import rows as rows_module
from gru4rec.runlog.lines import LABELS, shown

_STYLE = """
body { margin: 0 auto; max-width: 1120px; padding: 20px; color: #1d2733; background: #fff;
       font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 22px; } h2 { font-size: 17px; margin: 28px 0 8px; } .soft { color: #667488; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 16px; }
figure { margin: 0; align-self: start; border: 1px solid #dde3ea; border-radius: 8px;
         padding: 10px; }
figcaption { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: #667488; }
svg path { fill: none; stroke-width: 2; }
svg .grid { stroke: #e7ecf1; } .legend span { margin-right: 14px; font-size: 13px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px;
            margin-right: 5px; }
table { border-collapse: collapse; }
td, th { border-bottom: 1px solid #dde3ea; padding: 4px 14px 4px 0; text-align: left; }
.charts > div { overflow-x: auto; }
td + td { font-variant-numeric: tabular-nums; }
"""
_PROTOCOL = ("test_path", "unknown", "tie", "eval_target", "epoch", "events", "sessions")


def make(title, rows, config, bias):
    """The page.

    Args:
      title: text.
      rows: rows of metrics.jsonl, from runlog.rows.read.
      config: config.Config of the run.
      bias: bias.Bias, or text that says why there is none.
    Returns: str.
    """
    parts = ["<h1>%s</h1>" % html.escape(title)]
    for heading, section in (
            ("Curves", _curves(rows)), ("Metrics by cut-off", _metrics(rows)),
            ("Metrics by position in the session", _splits(rows)),
            ("Popularity bias", _bias(bias)), ("Configuration", _configuration(config))):
        parts += ["<h2>%s</h2>" % heading, section]
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>%s</title>'
            "<style>%s</style></head><body>\n%s\n</body></html>\n"
            % (html.escape(title), _STYLE, "\n".join(parts)))


def _soft(text):
    return '<p class="soft">%s</p>' % html.escape(text)


def _table(head, body):
    def cells(row, tag):
        return "".join("<%s>%s</%s>" % (tag, html.escape(str(cell)), tag) for cell in row)

    rows = "".join("<tr>%s</tr>" % cells(row, "td") for row in body)
    return "<table><tr>%s</tr>%s</table>" % (cells(head, "th"), rows)


def _curves(rows):
    """Charts over steps and epochs."""
    def recall_and_mrr(kind):
        return [name for metric in ("recall", "mrr")
                for name in rows_module.metric_names(rows, kind, metric)]

    charts = []
    for label, kind, x, keys in (
            ("Loss", "train", "step", ["loss"]), ("Learning rate", "train", "step", ["lr"]),
            ("Training speed, events/s", "epoch", "epoch", ["events_per_s"]),
            ("Validation", "valid", "epoch", recall_and_mrr("valid")),
            ("Test", "eval", "epoch", recall_and_mrr("eval"))):
        series = [(key, sorted(rows_module.curve(rows, kind, x, key), key=lambda point: point[0]))
                  for key in keys]
        series = [(key, points) for key, points in series if points]
        if series:
            charts.append(svg.lines(label, x, series))
    if not charts:
        return _soft("The run has no training rows.")
    return '<div class="charts">%s</div>' % "".join(charts)


def _metrics(rows):
    """A table for each protocol of evaluation, from its latest row."""
    latest = {tuple(str(row.get(key)) for key in _PROTOCOL[:5]): row
              for row in rows_module.of_kind(rows, "eval")}
    if not latest:
        return _soft("No evaluation yet: python -m gru4rec.main --train 0 adds one.")
    parts = []
    for row in latest.values():
        protocol = ", ".join("%s %s" % (key, row[key]) for key in _PROTOCOL if key in row)
        parts.append(_soft(protocol) + _metrics_table(row))
    return "".join(parts)


def _metrics_table(row):
    """Metrics of one evaluation by list length, those of the sequential rules beside them."""
    cut_offs = sorted({int(key.split("@")[1])
                       for key in row if key.startswith(("recall@", "mrr@", "ndcg@"))})

    def measured(prefix):
        return [name for name in LABELS
                if any("%s%s@%d" % (prefix, name, cut) in row for cut in cut_offs)]

    names, of_rules = measured(""), measured("rules_")
    keys = names + ["rules_" + name for name in of_rules]
    head = (["list length"] + [LABELS[name] for name in names]
            + [LABELS[name] + " of sequential rules" for name in of_rules])
    return _table(head, [[cut] + [shown(row.get("%s@%d" % (key, cut))) for key in keys]
                         for cut in cut_offs])


def _splits(rows):
    """Chart and table for each property of the target by which the evaluation was split."""
    latest = {(row.get("split"), row.get("part")): row
              for row in rows_module.of_kind(rows, "split")}
    if not latest:
        return _soft("Not measured: python -m gru4rec.main --train 0 --split position,repeat adds "
                     "it.")
    parts = []
    for split in dict.fromkeys(name for name, _ in latest):
        part_rows = [row for (name, _), row in latest.items() if name == split]
        keys = sorted({key for row in part_rows
                       for key in row if key.startswith(("recall@", "mrr@"))},
                      key=lambda key: (int(key.split("@")[1]), key.startswith("mrr")))
        chart = svg.bars("by %s of the target" % split, [row["part"] for row in part_rows],
                         [(key, [row.get(key) for row in part_rows]) for key in keys])
        table = _table([split, "events"] + keys,
                       [[row["part"], row["events"]] + [shown(row.get(key)) for key in keys]
                        for row in part_rows])
        parts.append('<div class="charts">%s<div>%s</div></div>' % (chart, table))
    return "".join(parts)


def _bias(bias):
    """Chart and table of a bias.Bias; a text is shown as it is."""
    if isinstance(bias, str):
        return _soft(bias)
    names = ["%d %%" % (10 * (group + 1)) for group in range(len(bias.training))]
    series = [("events of the training file", bias.training.tolist()),
              ("next items in the test", bias.targets.tolist()),
              ("places in the lists", bias.recommended.tolist())]
    head = ["tenth of the items, by popularity"] + [name for name, _ in series]
    body = [[name] + ["%.4f" % values[at] for _, values in series] for at, name in enumerate(names)]
    note = _soft("Shares of each tenth of the items, the most popular first. A list of 20 was made "
                 "for each of %d test sessions without its last event, which is the next item. "
                 "Lists that prefer popular items have a higher first bar than the next items have."
                 % bias.sessions)
    return note + '<div class="charts">%s<div>%s</div></div>' % (
        svg.bars("Shares by popularity", names, series), _table(head, body))


def _configuration(config):
    body = []
    for group, values in config.to_dict().items():
        for name, value in values.items():
            if isinstance(value, (list, tuple)):
                value = ",".join(map(str, value))
            body.append([group, name, "" if value is None else value])
    return _table(["group", "flag", "value"], body)
