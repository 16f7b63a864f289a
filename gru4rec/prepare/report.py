"""What was read, removed and written: text for people, JSON for programs.

Nothing in it depends on the time or the machine.
"""

import json

_BINS = [(n, n) for n in range(1, 11)] + [(11, 20), (21, 50), (51, 100), (101, 200), (201, None)]


def length_bin(length):
    """Name of the bin of a session length: 7 -> "7", 30 -> "21-50", 201 -> "201+"."""
    low, high = next(pair for pair in _BINS if pair[1] is None or length <= pair[1])
    if low == high:
        return "%d" % low
    return "%d-%d" % (low, high) if high else "%d+" % low


class Report:
    """The facts of one run."""

    def __init__(self, dataset, options):
        """dataset: str. options: dict of what JSON can hold."""
        self.dataset, self.options, self.time_unit = dataset, options, None
        self.files, self.steps, self.outputs, self.notes = [], [], {}, []

    def add_file(self, name, rows, bad):
        """A raw file, its rows, and how many of them are bad."""
        self.files.append({"file": name, "rows": rows, "bad_rows": bad})

    def add_step(self, name, events, sessions, items):
        """A filter, and how many events, sessions and items it removed (None: not counted)."""
        self.steps.append({"step": name, "removed_events": events, "removed_sessions": sessions,
                           "removed_items": items})

    def add_read(self, events, sessions, items):
        """What all raw files hold together."""
        self.read = {"events": events, "sessions": sessions, "items": items}

    def add_output(self, name, events, sessions, items, first, last, lengths):
        """An output file.

        Args:
          first, last: int, microseconds of its first and last event; None if it is empty.
          lengths: list of (session length, number of such sessions).
        """
        histogram = {}
        for length, count in sorted(lengths):
            histogram[length_bin(length)] = histogram.get(length_bin(length), 0) + count
        self.outputs[name] = {
            "events": events, "sessions": sessions, "items": items, "targets": events - sessions,
            "first_time": None if first is None else first / 1e6,
            "last_time": None if last is None else last / 1e6,
            "session_lengths": histogram}

    def to_json(self):
        """str, the same for the same data and options."""
        record = {"dataset": self.dataset, "options": self.options, "files": self.files,
                  "read": self.read, "steps": self.steps, "outputs": self.outputs,
                  "notes": self.notes}
        if self.time_unit:
            record["time_unit"] = self.time_unit
        return json.dumps(record, indent=1, sort_keys=True) + "\n"

    def lines(self):
        """list of str for stdout."""
        out = ["dataset: %s" % self.dataset]
        out += ["%s: %d rows, %d bad" % (row["file"], row["rows"], row["bad_rows"])
                for row in self.files]
        out.append("read: %(events)d events, %(sessions)d sessions, %(items)d items" % self.read)
        for row in self.steps:
            parts = ["%d %s" % (row["removed_" + what], what)
                     for what in ("events", "sessions", "items")
                     if row["removed_" + what] is not None]
            out.append("%s: removed %s" % (row["step"], ", ".join(parts)))
        out += self.notes
        for name, row in self.outputs.items():
            out.append("%s: %d events, %d sessions, %d items, %d targets" % (
                name, row["events"], row["sessions"], row["items"], row["targets"]))
            lengths = " ".join("%s:%d" % pair for pair in row["session_lengths"].items())
            out.append("  sessions by length: " + (lengths or "none"))
        return out
