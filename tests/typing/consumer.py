"""What a typed program may do with the public API, and what its checker must refuse; never run.

`mypy --strict` also complains where an expected complaint (`type: ignore[...]`) does not come.
"""

from typing import Any, Dict, List, Tuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import gru4rec
from gru4rec.errors import CheckpointError, Gru4RecError, Interrupted
from gru4rec.recommend.model import Model, Recommendation, Session

model = gru4rec.load("checkpoint", backend="tf", epoch=2)
assert_type(model, Model)
assert_type(gru4rec.__version__, str)
assert_type(len(model), int)
assert_type(model.version, str)
assert_type(model.item_vectors, NDArray[np.float32])

found = model.recommend([214619433, 214014470], k=5, exclude_seen=True, exclude=np.arange(3))
assert_type(found, Recommendation)
ids, scores = found
assert_type(ids, NDArray[Any])
assert_type(scores, NDArray[np.float32])
assert_type(found.scores, NDArray[np.float32])
assert_type(found.by_popularity, bool)
model.recommend(["a", "b"], candidates={"c", "d"})
model.recommend(np.array([1, 2]))

lists = model.recommend_batch([[214619433], ["214014470"], np.array([7])])
assert_type(lists, List[Recommendation])

session = model.start()
assert_type(session, Session)
assert_type(session.click(214619433), bool)
assert_type(session.top(20), Recommendation)
assert_type(session.vector, NDArray[np.float32])


def next_ids(directory: str) -> Tuple[Dict[str, Any], int]:
    try:
        return {"ids": gru4rec.load(directory).recommend([1]).ids}, 0
    except CheckpointError:
        raise
    except Gru4RecError as error:
        return {}, error.exit_status


gru4rec.load(3)  # type: ignore[arg-type]
gru4rec.laod("checkpoint")  # type: ignore[attr-defined]
model.recommend(7)  # type: ignore[arg-type]
model.recommend([1.5])  # type: ignore[list-item]
model.recommend([1], k="20")  # type: ignore[arg-type]
model.recomend([1])  # type: ignore[attr-defined]
session.click([1])  # type: ignore[arg-type]
Interrupted("SIGTERM")  # type: ignore[arg-type]
