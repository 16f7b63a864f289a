"""Split training events: the latest sessions are for validation, the others for training."""

import numpy as np

from gru4rec.data.reading.columns import as_text
from gru4rec.data.reading.loader import Events
from gru4rec.data.sessions import sort_events
from gru4rec.errors import DataError

DAY_SECONDS = 86400.0
# On each side. One session measures nothing, and training on it would have no negatives.
MIN_SESSIONS = 2
# Seconds since 1970: March 1973. Smaller times are no dates; they may count events, for example.
EARLIEST_DATE = 1e8


def split(events, fraction=None, days=None):
    """Hold out the latest sessions of a training file, whole; a session's time is its last event's.

    Give one of `fraction` and `days`.

    Args:
      events: loader.Events.
      fraction: float in (0, 1): hold out the last round(fraction * S) of the S sessions of two
        events or more; sessions of equal time in the order of their ids, as in
        data.sessions.index_train. Shorter sessions go to the side that their time says.
      days: float > 0: hold out the sessions whose time is at most days * 86,400 s before the last
        event of the file.
    Returns: (Events to train on, Events to validate with), both in file order; together they are
      `events`.
    Raises: DataError if a side has fewer than two sessions of two events or more, or if `days` is
      given and the times are smaller than any date in seconds since 1970.
    Example: sessions a, b, c, d end at 10, 40, 30, 40. fraction 0.5 -> train on a, c and validate
      with b, d; fraction 0.25 holds out d only.
    """
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
                        "validate with; each side needs %d, so give another value"
                        % (events.path, flag, num_train, num_valid, MIN_SESSIONS))
    held_out = np.empty(len(order), bool)
    held_out[order] = np.repeat(late, lengths)
    return _rows(events, ~held_out, "training"), _rows(events, held_out, "validation")


def _last_share(last, long, fraction):
    """bool [S]: the last share of the long sessions, and the short sessions among them or later."""
    by_time = np.argsort(last, kind="stable")
    places = np.flatnonzero(long[by_time])
    held_out = int(round(fraction * len(places)))
    late = np.zeros(len(last), bool)
    if held_out:
        late[by_time[places[-held_out]:]] = True
    return late


def _check_dates(events):
    """DataError if the times cannot be dates; --valid_days counts real seconds."""
    size = float(np.median(np.abs(events.time)))
    if events.time_unit != "iso-8601" and size < EARLIEST_DATE:
        raise DataError("%s: the times (median %.4g) are no seconds since 1970, so days cannot be "
                        "counted for --valid_days; use --valid_fraction" % (events.path, size))


def _rows(events, mask, part):
    path = "%s (%s part)" % (events.path, part)
    return events._replace(session=events.session[mask], item=events.item[mask],
                           time=events.time[mask], path=path)


def join(train, valid):
    """The events of two files as if they were one file.

    Args:
      train, valid: loader.Events.
    Returns: Events; an id column is integer if it is integer in both files.
    Raises: DataError naming the first session id that is in both: it could be one session or two.
    """
    session, item = _joined(train.session, valid.session), _joined(train.item, valid.item)
    both = np.intersect1d(session[:len(train.session)], session[len(train.session):])
    if len(both):
        raise DataError("%s: %d session ids are in %s too (first one: %.60r), so the files cannot "
                        "be joined for --refit 1; give sessions different ids, or use --refit 0"
                        % (valid.path, len(both), train.path, both.tolist()[0]))
    return Events(session, item, np.concatenate([train.time, valid.time]),
                  "%s and %s" % (train.path, valid.path), train.time_unit)


def _joined(one, other):
    """Two id columns in one: int64 [E] if both are int64, else object [E] of str."""
    if one.dtype != other.dtype:
        one, other = (as_text(part) if part.dtype != object else part for part in (one, other))
    return np.concatenate([one, other])
