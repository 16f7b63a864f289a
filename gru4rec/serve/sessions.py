"""Sessions of visitors between clicks: the least recently used go first, none outlives its time or
the memory given.
"""

import collections
import sys
import threading
import time

KEPT = 50  # last items of a session that are kept, to run them through another model
# bytes of an entry beside its state and ids: objects, the deque's block, its place in the
# dictionary
OVERHEAD = 2048


class Entry:
    """One session: the state after its clicks, the last of them (as raw ids, and of the known
    ones the indices), and the version of the model that state and indices belong to."""

    __slots__ = ("states", "items", "codes", "version", "clicks", "touched", "bytes")

    def __init__(self):
        self.states, self.items, self.codes, self.version = None, collections.deque(maxlen=KEPT), (), None
        self.clicks, self.touched, self.bytes = 0, 0.0, 0

    def size(self):
        """Bytes it takes, about."""
        return (OVERHEAD + sum(state.nbytes + 128 for state in self.states or ())
                + sum(sys.getsizeof(item) for item in self.items)
                + 8 * len(self.codes))


class SessionStore:
    """Entries by session id; safe for threads.

    Args:
      max_bytes: int, all entries together. ttl_seconds: float, since the last click.
      clock: function () -> seconds that never go back.
    """

    def __init__(self, max_bytes, ttl_seconds, clock=time.monotonic):
        self._max_bytes, self._ttl, self._clock = max_bytes, ttl_seconds, clock
        self._entries, self._lock, self.bytes = collections.OrderedDict(), threading.Lock(), 0
        self.evicted = self.expired = 0

    def __len__(self):
        return len(self._entries)

    def get(self, session_id):
        """The entry of a session, or a new one, which is kept only by `put`."""
        with self._lock:
            self._expire()
            return self._entries.get(session_id) or Entry()

    def put(self, session_id, entry):
        """Keep an entry as the most recently used, and forget others where memory asks for it."""
        with self._lock:
            old = self._entries.pop(session_id, None)
            self.bytes -= old.bytes if old is not None else 0
            entry.touched, entry.bytes = self._clock(), entry.size()
            self._entries[session_id] = entry
            self.bytes += entry.bytes
            while self.bytes > self._max_bytes:
                self._forget_oldest()
                self.evicted += 1
            self._expire()

    def delete(self, session_id):
        """Forget a session; returns whether there was one."""
        with self._lock:
            self._expire()
            entry = self._entries.pop(session_id, None)
            self.bytes -= entry.bytes if entry is not None else 0
            return entry is not None

    def _expire(self):
        before = self._clock() - self._ttl
        while self._entries and next(iter(self._entries.values())).touched < before:
            self._forget_oldest()
            self.expired += 1

    def _forget_oldest(self):
        self.bytes -= self._entries.popitem(last=False)[1].bytes
