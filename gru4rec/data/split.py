"""Training events -> those to learn from and those to validate with, by whole sessions, the latest
held out.
"""

import numpy as np

from gru4rec.data.reading.columns import as_text
from gru4rec.data.reading.loader import Events
from gru4rec.data.sessions import sort_events
from gru4rec.errors import DataError

DAY_SECONDS = 86400.0
# on either side; a single session says nothing, and alone it has no negatives to learn from
MIN_SESSIONS = 2
# seconds since 1970: March 1973. Times below it are no dates, such as the numbers of events
EARLIEST_DATE = 1e8


def split(events, fraction=None, days=None):
    """Hold out the latest sessions of a training file; the time of a session is that of its last
    event.

    Args:
      events: loader.Events.
      fraction: float in (0, 1): the last round(fraction * S) of the S sessions of two events or
      more; sessions of equal
        time in the order of their ids, as data.sessions.index_train has it. Shorter sessions go
        where their time says.
      days: float > 0: sessions whose time is at most days * 86,400 s before the file's last event.
      Give one of the two.
    Returns: (Events to train on, Events to validate with), both in file order; together they are
    `events`.
    Raises: DataError if a side has fewer than two sessions of two events or more, or if `days` is
    given and the times
      are smaller than any date in seconds since 1970.
    Example: sessions a, b, c, d end at 10, 40, 30, 40; fraction 0.5 -> a, c and b, d. fraction
    0.25 would hold out d."""
    order, offsets = sort_events(events)
    lengths, last = np.diff(offsets), events.time[order[offsets[1:] - 1]]
    if days is None:
        late, flag = _last_share(last, lengths >= 2, fraction), "--valid_fraction %g" % fraction
    else:
        _check_dates(events)
        late, flag = last >= last.max() - days * DAY_SECONDS, "--valid_days %g" % days
    num_train, num_valid = int((~late & (lengths >= 2)).sum()), int((late & (lengths >= 2)).sum())
    if min(num_train, num_valid) < MIN_SESSIONS:
        raise DataError("%s: %s leaves %d sessions of two events or more to train on and %d to "
                        "validate with; each side "
                        "needs %d, so give another value"
                        % (events.path, flag, num_train, num_valid, MIN_SESSIONS))
    held_out = np.empty(len(order), bool)
    held_out[order] = np.repeat(late, lengths)
    return _rows(events, ~held_out, "training"), _rows(events, held_out, "validation")


def _last_share(last, long, fraction):
    """bool [S]: the last share of the long sessions, and of the others those that come after the
    first of them.
    """
    by_time = np.argsort(last, kind="stable")
    places = np.flatnonzero(long[by_time])
    held_out = int(round(fraction * len(places)))
    late = np.zeros(len(last), bool)
    if held_out:
        late[by_time[places[-held_out]:]] = True
    return late


def _check_dates(events):
    """--valid_days counts real seconds; ISO-8601 is that always, a number only if it can be a date.
    """
    size = float(np.median(np.abs(events.time)))
    if events.time_unit != "iso-8601" and size < EARLIEST_DATE:
        raise DataError("%s: the times (median %.4g) are no seconds since 1970, so days cannot be "
                        "counted for --valid_days; "
                        "use --valid_fraction" % (events.path, size))


def _rows(events, mask, part):
    path = "%s (%s part)" % (events.path, part)
    return events._replace(session=events.session[mask], item=events.item[mask],
                           time=events.time[mask], path=path)


def join(train, valid):
    """The events of two files, one after the other, as if they had been one file.

    Args:
      train, valid: loader.Events.
    Returns: Events; an id column is integer if it is in both.
    Raises: DataError naming the first session id that is in both: it could be one session or two.
    """
    session, item = (_column(a, b) for a,
                     b in ((train.session, valid.session), (train.item, valid.item)))
    both = np.intersect1d(session[:len(train.session)], session[len(train.session):])
    if len(both):
        raise DataError("%s: %d session ids are in %s too (first one: %.60r), so the files cannot "
                        "be joined for --refit 1; "
                        "give sessions different ids, or use --refit 0"
                        % (valid.path, len(both), train.path, both.tolist()[0]))
    return Events(session, item, np.concatenate([train.time, valid.time]),
                  "%s and %s" % (train.path, valid.path),
                  train.time_unit)


def _column(one, other):
    """int64 [E] if both are, else object [E] of str."""
    if one.dtype != other.dtype:
        one, other = (as_text(part) if part.dtype != object else part for part in (one, other))
    return np.concatenate([one, other])
