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
    """The pair (ids, scores), best first, and how it came about.

    ids: [k'] raw ids in the type of the training file, int64 or object of str.
    scores: [k'] float32, see `Model`.
    unknown: tuple of the ids of the session that the model does not know; they were skipped.
    by_popularity: True if the model knows no item of the session. Then the list holds the most
      popular items, and the scores are their numbers of events in the training file.
    """

    unknown: Tuple[ItemId, ...]
    by_popularity: bool

    def __new__(cls, ids: NDArray[Any], scores: NDArray[np.float32], unknown: Iterable[ItemId] = (),
                by_popularity: bool = False) -> Recommendation:
        recommendation = super().__new__(cls, (ids, scores))
        recommendation.unknown = tuple(unknown)
        recommendation.by_popularity = by_popularity
        return recommendation

    @property
    def ids(self) -> NDArray[Any]:
        return self[0]

    @property
    def scores(self) -> NDArray[np.float32]:
        return self[1]

    def __repr__(self) -> str:
        return ("Recommendation(ids=%r, scores=%r, unknown=%r, by_popularity=%r)"
                % (self.ids, self.scores, self.unknown, self.by_popularity))


def load(path: str, backend: str = "numpy", epoch: Optional[int] = None, checksums: bool = True,
         threads: int = 1) -> Model:
    """A trained model, ready to recommend.

    Args:
      path: checkpoint directory.
      backend: "numpy", which needs no TensorFlow, or "tf", the graph of the evaluation; their
        scores agree within 1e-5.
      epoch: int, 0-based; None: the best of a run with validation, else the newest.
      checksums: False compares only the sizes of the files, so that a large catalogue is not read
        twice.
      threads: how many compute the scores of a catalogue of 100,000 items or more together (numpy
        backend). Threads that numpy's matrix products start by themselves come on top.
    Returns: Model.
    Raises: ConfigError for another backend; CheckpointError if there is no such checkpoint or it is
      damaged; DivergenceError if it holds weights that are not finite.
    """
    if backend not in ("numpy", "tf"):
        raise ConfigError("backend %r is unknown; use one of: numpy, tf" % (backend,))
    weights = weights_module.load(path, epoch, checksums)
    if backend == "tf":
        from gru4rec.recommend.tf_network import TFNetwork
        return Model(weights, TFNetwork(weights))
    return Model(weights, NumpyNetwork(weights, threads))


class Model:
    """A trained model; nothing in it changes, so threads may share it.

    The score of an item is h . w + b: h is the hidden state after the last item of the session, w
    and b are the item's row and bias (with --score cosine: a scaled cosine + b, see
    model.similarity). Higher is better. With a cross-entropy loss scores are logits; other losses
    have scales of their own. Only scores of one session may be compared. Equal scores are ordered
    by item index, that is by first appearance in the training file.

    item_vectors: [I, H + 1] float32, read-only, a row for each id of `ids`. Its product with
      `Session.vector` is the score, so a vector store that searches for the largest inner product
      finds the same items.
    ids: [I] raw ids. version: str that differs between any two checkpoints. epoch: int, 0-based.
    config: config.Config of the training.
    """

    config: Config
    vocabulary: Vocabulary
    item_vectors: NDArray[np.float32]
    ids: NDArray[Any]
    version: str
    epoch: int
    path: str

    def __init__(self, weights: weights_module.Weights, network: Any) -> None:
        """weights: checkpoint.weights.Weights. network: NumpyNetwork or TFNetwork."""
        self.config, self.vocabulary = weights.config, weights.vocabulary
        self.item_vectors, self.ids = weights.item_vectors, weights.vocabulary.ids
        self.version, self.epoch, self.path = weights.version, weights.epoch, weights.path
        self.network, self.popularity = network, Popularity(weights.vocabulary.support)
        # pandas builds its index at the first look-up, which two threads must not do at once
        self.encode(self.ids[:1])

    def __len__(self) -> int:
        return len(self.vocabulary)

    def recommend(self, items: Items, k: int = 20, exclude_seen: bool = False,
                  candidates: Optional[Iterable[ItemId]] = None,
                  exclude: Optional[Iterable[ItemId]] = None) -> Recommendation:
        """The items most likely to come next in one session.

        Args:
          items: raw ids of the session, oldest first; text is cast to the type of the training
            file's ids. Ids that the model does not know are skipped (`unknown` of the result). If
            it knows none, or the session is empty, the list holds the most popular items
            (`by_popularity`).
          k: int >= 1, length of the list; it is shorter if fewer items may be recommended.
          exclude_seen: True leaves out the items of the session.
          candidates: raw ids, the only ones to recommend; None: every item.
          exclude: raw ids not to recommend. In both, ids that the model does not know have no
            effect.
        Returns: Recommendation, a pair (ids, scores).
        Raises: InputError if `items` is one text or `k` is no whole number of at least 1.
        """
        return self.recommend_batch([items], k, exclude_seen, candidates, exclude)[0]

    def recommend_batch(self, sessions: Sequence[Items], k: int = 20, exclude_seen: bool = False,
                        candidates: Optional[Iterable[ItemId]] = None,
                        exclude: Optional[Iterable[ItemId]] = None) -> List[Recommendation]:
        """`recommend` for many sessions of any lengths at once; scores may differ in rounding.

        Memory beside the weights: 6 * max(64, 4 Mi / I) * I bytes for a tile of scores and the
        search for the best of them, and 16384 * (7 * largest size + sum of the sizes) bytes for
        the states of 4,096 sessions.

        Args: sessions: list of what `recommend` takes; the others are those of `recommend`.
        Returns: list of Recommendation, one for each session.
        """
        query = self.query(k, candidates, exclude)
        for items in sessions:
            if isinstance(items, (str, bytes)):
                raise InputError("a session is a list of item ids, not the text %r; put it in "
                                 "brackets" % (items,))
        lengths = [len(items) for items in sessions]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        raw = [item for items in sessions for item in items]
        codes = self.vocabulary.encode(raw)
        index, scores, by_popularity = self.rank(codes, offsets, query, exclude_seen)
        unknown: Dict[int, List[ItemId]] = {}
        for at in np.flatnonzero(codes < 0):
            unknown.setdefault(int(np.searchsorted(offsets, at, "right")) - 1, []).append(raw[at])
        counts = (index >= 0).sum(1)
        return [Recommendation(self.ids[index[row, :count]], scores[row, :count],
                               unknown.get(row, ()), bool(by_popularity[row]))
                for row, count in enumerate(counts)]

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
        """int64 [N] item indices of raw ids, -1 where unknown.

        Raises: InputError for one text instead of a list.
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
          codes: int [E] item indices, -1 where unknown.
          offsets: int64 [S + 1]; session s is codes[offsets[s]:offsets[s + 1]].
          query: ranking.Query. exclude_seen: True leaves out the items of the session.
        Returns: (index int64 [S, k'] with -1 where a list is shorter, score float32 [S, k'],
          by_popularity bool [S]).
        """
        known = codes >= 0
        offsets = np.concatenate([[0], np.cumsum(known)])[offsets]
        codes, count = codes[known], len(offsets) - 1
        width = list_width(query, len(self))
        index, scores = np.empty((count, width), np.int64), np.empty((count, width), np.float32)
        for start in range(0, count, LANES):
            part = offsets[start:start + LANES + 1]
            hidden = last_states(self.network, codes, part)[-1]
            seen = None
            if exclude_seen:
                seen = [codes[first:end] for first, end in zip(part, part[1:])]
            rows = slice(start, start + LANES)
            index[rows], scores[rows] = best_items(self.network, len(self), hidden, query, seen)
        by_popularity = np.diff(offsets) == 0
        if by_popularity.any():
            popular, events = self.popularity.best(query)
            index[by_popularity], scores[by_popularity] = -1, -np.inf
            index[by_popularity, :len(popular)] = popular
            scores[by_popularity, :len(popular)] = events
        return index, scores, by_popularity

    def start(self) -> Session:
        """A new Session, which keeps the state of one visitor between clicks."""
        return Session(self)


class Session:
    """A session that goes on: each click costs one step of the network, however many came before.

    Threads may share it.
    items: list of the raw ids clicked so far that the model knows; unknown: of those it does not.
    """

    items: List[ItemId]
    unknown: List[ItemId]

    def __init__(self, model: Model) -> None:
        self._model, self._lock = model, threading.Lock()
        self._states, self.items, self.unknown = model.network.zero_states(1), [], []
        self._codes: List[int] = []

    def click(self, item: ItemId) -> bool:
        """Take in the next item -> whether the model knows it.

        An unknown item changes nothing but `unknown`.
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
        """[H + 1] float32: hidden state (of length 1 with --score cosine) and a 1 for the bias.

        Its product with `Model.item_vectors` is the scores.
        """
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
            seen = [np.array(codes)] if exclude_seen else None
            (index,), (scores,) = best_items(self._model.network, len(self._model), hidden, query,
                                             seen)
            index, scores = index[index >= 0], scores[index >= 0]
        return Recommendation(self._model.ids[index], scores, unknown, not codes)
