"""The Python API: `model = gru4rec.load("checkpoint")`, `model.recommend(...)`, `model.start()`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np

from gru4rec.checkpoint import weights as weights_module
from gru4rec.errors import ConfigError, InputError
from gru4rec.recommend.network import NumpyNetwork
from gru4rec.recommend.ranking import (
    LANES,
    Popularity,
    Query,
    best_items,
    last_states,
    list_width,
    make_query,
)

if TYPE_CHECKING:  # numpy.typing is newer than the numpy of TensorFlow 1.15
    from numpy.typing import NDArray

    from gru4rec.config import Config
    from gru4rec.data.vocab import Vocabulary

    ItemId = Union[int, str, np.integer[Any]]
    Items = Union[Sequence[ItemId], NDArray[Any]]
    _Pair = Tuple[NDArray[Any], NDArray[np.float32]]
else:
    _Pair = tuple


class Recommendation(_Pair):
    """The pair (ids, scores), best first, and what has to be said about it.

    ids: [k'] raw ids in the training file's type, int64 or object of str. scores: [k'] float32, see
    `Model`.
    unknown: tuple of the ids of the session that the model does not know and that were skipped.
    by_popularity: True if nothing of the session was known: the list is that of the most popular
    items, and the scores
      are their events in the training file.
    """

    unknown: Tuple[ItemId, ...]
    by_popularity: bool

    def __new__(cls, ids: NDArray[Any], scores: NDArray[np.float32], unknown: Iterable[ItemId] = (),
                by_popularity: bool = False) -> Recommendation:
        made = super().__new__(cls, (ids, scores))
        made.unknown, made.by_popularity = tuple(unknown), by_popularity
        return made

    @property
    def ids(self) -> NDArray[Any]:
        return self[0]

    @property
    def scores(self) -> NDArray[np.float32]:
        return self[1]

    def __repr__(self) -> str:
        return "Recommendation(ids=%r, scores=%r, unknown=%r, by_popularity=%r)" % (self[0],
                                                                                    self[1],
                                                                                    self.unknown,
                                                                                  self.by_popularity)


def load(path: str, backend: str = "numpy", epoch: Optional[int] = None, checksums: bool = True,
         threads: int = 1) -> Model:
    """A trained model, ready to recommend.

    Args:
      path: checkpoint directory.
      backend: "numpy", which imports no TensorFlow, or "tf", the graph of the evaluation; scores
      agree within 1e-5.
      epoch: int, 0-based; None: the best of a run with validation, else the newest.
      checksums: False compares sizes of the files only, which spares reading a large catalogue
      twice.
      threads: that share the scores of a catalogue of 100,000 items or more (numpy backend); those
      that numpy's products
        start by themselves come on top.
    Returns: Model.
    Raises: ConfigError for another backend; CheckpointError if there is no such checkpoint or it is
    damaged;
      DivergenceError if it holds weights that are not finite.
    """
    if backend not in ("numpy", "tf"):
        raise ConfigError("backend %r is unknown; use one of: numpy, tf" % (backend,))
    found = weights_module.load(path, epoch, checksums)
    if backend == "tf":
        from gru4rec.recommend.tf_network import TFNetwork
        return Model(found, TFNetwork(found))
    return Model(found, NumpyNetwork(found, threads))


class Model:
    """A trained model; nothing in it changes, so threads may share it.

    Scores are the raw ones, h . W + b (or scaled cosine + b, see `similarity`), h the hidden state
    after the session's last
    item: logits where the loss is a cross-entropy, else whatever scale the loss gave them; higher
    is better, and they compare within one session only. Equal scores are ordered by item index,
    that is by first appearance in the training
    file.

    item_vectors: [I, H + 1] float32, read-only, a row for each id of `ids`; its product with
    `Session.vector` is the score,
      so a store of vectors that searches for the largest inner product finds the same items.
    ids: [I] raw ids. version: str that differs between any two checkpoints. epoch: int. config:
    config.Config."""

    config: Config
    vocabulary: Vocabulary
    item_vectors: NDArray[np.float32]
    ids: NDArray[Any]
    version: str
    epoch: int
    path: str

    def __init__(self, weights: weights_module.Weights, network: Any) -> None:
        """weights: checkpoint.weights.Weights. network: NumpyNetwork or TFNetwork."""
        self.config, self.vocabulary, self.item_vectors = weights.config, weights.vocabulary, weights.item_vectors
        self.ids, self.version, self.epoch, self.path = weights.vocabulary.ids, weights.version, weights.epoch, weights.path
        self.network, self.popularity = network, Popularity(weights.vocabulary.support)
        # pandas builds its index at the first look-up, and not for two threads at once
        self.encode(self.ids[:1])

    def __len__(self) -> int:
        return len(self.vocabulary)

    def recommend(self, items: Items, k: int = 20, exclude_seen: bool = False,
                  candidates: Optional[Iterable[ItemId]] = None,
                  exclude: Optional[Iterable[ItemId]] = None) -> Recommendation:
        """The items most likely to come next in one session.

        Args:
          items: raw ids of the session, oldest first; text is cast to the type of the training
          file's ids. Those the model
            does not know are skipped (`unknown` of the result); where it knows none, or the session
            is empty, the list is that of the most popular items (`by_popularity`).
          k: int >= 1, length of the list; it is shorter where fewer items may be recommended.
          exclude_seen: True leaves out the items of the session.
          candidates: raw ids, the only ones to recommend; None: every item. exclude: raw ids not to
          recommend. Ids the model
            does not know have no effect in either.
        Returns: Recommendation, a pair (ids, scores).
        Raises: InputError if `items` is one text or `k` is no whole number of at least 1.
        """
        return self.recommend_batch([items], k, exclude_seen, candidates, exclude)[0]

    def recommend_batch(self, sessions: Sequence[Items], k: int = 20, exclude_seen: bool = False,
                        candidates: Optional[Iterable[ItemId]] = None,
                        exclude: Optional[Iterable[ItemId]] = None) -> List[Recommendation]:
        """`recommend` of many sessions of any lengths at once, with the same answers up to rounding
        of the scores.

        Memory beside the weights: 6 * max(64, 4 Mi / I) * I bytes for a tile of scores and what
        finds the best of them, and 16384 * (7 * largest size + sum of the sizes) bytes for the
        states of 4,096 sessions.

        Args: sessions: list of what `recommend` takes; the rest as there.
        Returns: list of Recommendation, one for each session.
        """
        query = self.query(k, candidates, exclude)
        for items in sessions:
            if isinstance(items, (str, bytes)):
                raise InputError("a session is a list of item ids, not the text %r; put it in "
                                 "brackets" % (items,))
        lengths = [len(items) for items in sessions]
        raw = [item for items in sessions for item in items]
        codes, offsets = self.vocabulary.encode(raw), np.concatenate([[0],
                                                                      np.cumsum(lengths)]).astype(np.int64)
        index, scores, by_popularity = self.rank(codes, offsets, query, exclude_seen)
        unknown: Dict[int, List[ItemId]] = {}
        for at in np.flatnonzero(codes < 0):
            unknown.setdefault(int(np.searchsorted(offsets, at, "right")) - 1, []).append(raw[at])
        counts = (index >= 0).sum(1)
        return [Recommendation(self.ids[index[row, :count]], scores[row, :count],
                               unknown.get(row, ()),
                               bool(by_popularity[row])) for row, count in enumerate(counts)]

    def query(self, k: int, candidates: Optional[Iterable[ItemId]] = None,
              exclude: Optional[Iterable[ItemId]] = None) -> Query:
        """ranking.Query of raw ids.

        Raises: InputError if `k` is no whole number of at least 1.
        """
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise InputError("k %r is not a whole number of at least 1" % (k,))
        return make_query(int(k), len(self),
                          *[None if ids is None else self.encode(ids)
                            for ids in (candidates, exclude)])

    def encode(self, ids: Iterable[ItemId]) -> NDArray[np.int64]:
        """int64 [N] item indices of raw ids, -1 where unknown; InputError for one text instead of a
        list.
        """
        if isinstance(ids, (str, bytes)):
            raise InputError("%r is one text, not a list of item ids; put it in brackets" % (ids,))
        ids = ids if isinstance(ids, np.ndarray) else list(ids)
        return self.vocabulary.encode(ids).astype(np.int64)

    def rank(self, codes: NDArray[Any], offsets: NDArray[Any], query: Query,
             exclude_seen: bool = False,
             ) -> Tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Lists of many sessions as arrays.

        Args:
          codes: int [E] item indices, -1 where unknown. offsets: int64 [S + 1]. query:
          ranking.Query.
        Returns: (index int64 [S, k'] with -1 where a list is shorter, score float32 [S, k'],
        by_popularity bool [S])."""
        known = codes >= 0
        offsets = np.concatenate([[0], np.cumsum(known)])[offsets]
        codes, count = codes[known], len(offsets) - 1
        width = list_width(query, len(self))
        index, scores = np.empty((count, width), np.int64), np.empty((count, width), np.float32)
        for start in range(0, count, LANES):
            part = offsets[start:start + LANES + 1]
            hidden = last_states(self.network, codes, part)[-1]
            seen = [codes[a:b] for a, b in zip(part, part[1:])] if exclude_seen else None
            index[start:start + LANES], scores[start:start
                                               + LANES] = best_items(self.network, len(self),
                                                                     hidden, query, seen)
        by_popularity = np.diff(offsets) == 0
        if by_popularity.any():
            found, values = self.popularity.best(query)
            index[by_popularity], scores[by_popularity] = -1, -np.inf
            index[by_popularity, :len(found)], scores[by_popularity, :len(found)] = found, values
        return index, scores, by_popularity

    def start(self) -> Session:
        """A Session, which keeps the state of one visitor between clicks."""
        return Session(self)


class Session:
    """A session that is happening now; each click costs one step of the network, whatever came
    before.

    Threads may share it. items: list of the known raw ids clicked so far; unknown: of those that
    were skipped."""

    items: List[ItemId]
    unknown: List[ItemId]

    def __init__(self, model: Model) -> None:
        self._model, self._lock = model, threading.Lock()
        self._states, self.items, self.unknown = model.network.zero_states(1), [], []
        self._codes: List[int] = []

    def click(self, item: ItemId) -> bool:
        """Take in the next item; returns whether the model knows it. An unknown one changes nothing
        but `unknown`.
        """
        code = int(self._model.encode([item])[0])
        with self._lock:
            if code < 0:
                self.unknown.append(item)
                return False
            self._states = self._model.network.step(self._states, np.array([code]))
            self._codes.append(code)
            self.items.append(self._model.ids[code])
        return True

    @property
    def vector(self) -> NDArray[np.float32]:
        """[H + 1] float32: hidden state (of length 1 with --score cosine) and a 1, which meets
        the bias in `Model.item_vectors`."""
        return self._model.network.outputs(self._states[-1])[0]

    def top(self, k: int = 20, exclude_seen: bool = False,
            candidates: Optional[Iterable[ItemId]] = None,
            exclude: Optional[Iterable[ItemId]] = None) -> Recommendation:
        """What `Model.recommend` gives for the clicks so far."""
        query = self._model.query(k, candidates, exclude)
        with self._lock:
            hidden, codes, unknown = self._states[-1], list(self._codes), tuple(self.unknown)
        if not codes:
            index, scores = self._model.popularity.best(query)
        else:
            found, values = best_items(self._model.network, len(self._model), hidden, query,
                                       [np.array(codes)] if exclude_seen else None)
            index, scores = found[0][found[0] >= 0], values[0][found[0] >= 0]
        return Recommendation(self._model.ids[index], scores, unknown, not codes)
