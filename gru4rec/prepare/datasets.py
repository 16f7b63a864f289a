"""What is known of each dataset."""

from typing import NamedTuple, Optional, Tuple

from gru4rec.prepare import formats


class Dataset(NamedTuple):
    """What is known of a dataset; flags may override."""

    # function (path, gzipped) -> Source; None: columns by name
    reader: Optional[object] = None
    event_types: Optional[Tuple[str, ...]] = None
    gap: Optional[float] = None
    days: float = 1
    keys: Tuple[str, str, str] = ("SessionId", "ItemId", "Time")


DATASETS = {
    "rsc15": Dataset(formats.yoochoose),
    "yoochoose": Dataset(formats.yoochoose),
    "diginetica": Dataset(formats.diginetica, days=7),
    "retailrocket": Dataset(formats.retailrocket, ("view",), gap=3600, days=7),
    "rees46": Dataset(formats.rees46, ("view",), gap=3600),
    "coveo": Dataset(formats.coveo, ("detail",)),
    "otto": Dataset(formats.otto, ("clicks",), days=7),
    "session-rec": Dataset(),
    "recbole": Dataset(keys=("session_id", "item_id", "timestamp")),
    "custom": Dataset(),
}
