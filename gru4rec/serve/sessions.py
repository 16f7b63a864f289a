"""The sessions of visitors, kept between their clicks, within limits of time and memory.

The least recently used sessions are dropped first.
"""

import collections
import sys
import threading
import time

KEPT = 50  # last items of a session that are kept, so that another model can process them
# Bytes of an entry besides state and ids: objects, the deque's block, the place in the dict.
OVERHEAD = 2048


class Entry:
    """One session.

    states: hidden states after its clicks, list of [1, H], or None.
    items: its last clicks as raw ids. codes: item indices of its last known clicks.
    version: of the model that states and codes belong to.
    clicks: how many it had. touched: time of the last one. bytes: memory it takes.
    """

    __slots__ = ("states", "items", "codes", "version", "clicks", "touched", "bytes")

    def __init__(self):
        self.states, self.version = None, None
        self.items, self.codes = collections.deque(maxlen=KEPT), ()
        self.clicks, self.touched, self.bytes = 0, 0.0, 0

    def size(self):
        """Memory it takes, in bytes, estimated."""
        return (OVERHEAD + sum(state.nbytes + 128 for state in self.states or ())
                + sum(sys.getsizeof(item) for item in self.items) + 8 * len(self.codes))


class SessionStore:
    """Entries by session id; may be used by several threads.

    Args:
      max_bytes: most memory of all entries together.
      ttl_seconds: time an entry is kept after its last click.
      clock: function () -> seconds, which never go back.
    """

    def __init__(self, max_bytes, ttl_seconds, clock=time.monotonic):
        self._max_bytes, self._ttl, self._clock = max_bytes, ttl_seconds, clock
        self._entries, self._lock, self.bytes = collections.OrderedDict(), threading.Lock(), 0
        self.evicted = self.expired = 0

    def __len__(self):
        return len(self._entries)

    def get(self, session_id):
        """The entry of a session, or a new one; only `put` stores it."""
        with self._lock:
            self._expire()
            return self._entries.get(session_id) or Entry()

    def put(self, session_id, entry):
        """Store an entry as the most recently used one; drops others if memory is full."""
        with self._lock:
            old = self._entries.pop(session_id, None)
            self.bytes -= old.bytes if old is not None else 0
            entry.touched, entry.bytes = self._clock(), entry.size()
            self._entries[session_id] = entry
            self.bytes += entry.bytes
            while self.bytes > self._max_bytes:
                self._drop_oldest()
                self.evicted += 1
            self._expire()

    def delete(self, session_id):
        """Delete a session; returns whether there was one."""
        with self._lock:
            self._expire()
            entry = self._entries.pop(session_id, None)
            self.bytes -= entry.bytes if entry is not None else 0
            return entry is not None

    def _expire(self):
        before = self._clock() - self._ttl
        while self._entries and next(iter(self._entries.values())).touched < before:
            self._drop_oldest()
            self.expired += 1

    def _drop_oldest(self):
        self.bytes -= self._entries.popitem(last=False)[1].bytes
