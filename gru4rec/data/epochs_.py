"""-"""

import numpy as np

from gru4rec.data.sessions import Sessions, rows_of
from gru4rec.errors import ConfigError


def shard(sessions, ranks):
    """Every `size`-th session, from `rank` on: the share of a process.

    Args:
      sessions: data.sessions.Sessions. ranks: Ranks.
    Returns: Sessions.
    Raises: ConfigError if there are fewer sessions than devices.
    """
    if ranks.size == 1:
        return sessions
    if sessions.num_sessions < ranks.size:
        raise ConfigError("%d sessions cannot be shared by %d devices; train on fewer"
                          % (sessions.num_sessions, ranks.size))
    mine = np.arange(ranks.rank, sessions.num_sessions, ranks.size)
    events, offsets = rows_of(sessions.offsets[mine], np.diff(sessions.offsets)[mine])
    return Sessions(sessions.items[events], offsets)
