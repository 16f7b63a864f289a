"""The properties of each dataset: files, columns, kinds of event, test period."""

from typing import NamedTuple, Optional, Tuple

from gru4rec.prepare import formats


class Dataset(NamedTuple):
    """What is known of a dataset; flags may say otherwise.

    reader: function (path, whether it is gzip) -> formats.Source; None finds columns by `keys`.
    event_types: kinds of event that are kept; None where the log has no kinds.
    gap: seconds of a pause that begins a session; None where the log has sessions.
    days: length of the test period. keys: columns of session, item and time.
    files: names of the published raw files. origin: where to get them.
    """

    reader: Optional[object] = None
    event_types: Optional[Tuple[str, ...]] = None
    gap: Optional[float] = None
    days: float = 1
    keys: Tuple[str, str, str] = ("SessionId", "ItemId", "Time")
    files: Tuple[str, ...] = ()
    origin: str = ""


_YOOCHOOSE = ("yoochoose-data.7z (unpack it by 7z), which https://2015.recsyschallenge.com names, "
              "or https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015")

DATASETS = {
    # RecSys Challenge 2015, clicks only, as the first GRU4Rec paper prepares them
    "rsc15": Dataset(formats.yoochoose, files=("yoochoose-clicks.dat",), origin=_YOOCHOOSE),
    # the same, clicks and test file together, as the study of 2023 prepares them
    "yoochoose": Dataset(formats.yoochoose, files=("yoochoose-clicks.dat", "yoochoose-test.dat"),
                         origin=_YOOCHOOSE),
    # CIKM Cup 2016 Track 2
    "diginetica": Dataset(
        formats.diginetica, days=7, files=("train-item-views.csv",),
        origin="https://competitions.codalab.org/competitions/11161 (after a registration)"),
    "retailrocket": Dataset(
        formats.retailrocket, ("view",), gap=3600, days=7, files=("events.csv",),
        origin="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset (with an account)"),
    # October and November 2019
    "rees46": Dataset(
        formats.rees46, ("view",), gap=3600, files=("2019-Oct.csv", "2019-Nov.csv"),
        origin="https://www.kaggle.com/datasets/mkechinov/"
               "ecommerce-behavior-data-from-multi-category-store"),
    # browsing_train.csv of the SIGIR eCom 2021 challenge has the same columns
    "coveo": Dataset(
        formats.coveo, ("detail",), files=("release_10_23_2020.csv",),
        origin="https://github.com/coveooss/shopper-intent-prediction-nature-2020 (after agreeing "
               "to its terms)"),
    "otto": Dataset(formats.otto, ("clicks",), days=7, files=("otto-recsys-train.jsonl",),
                    origin="https://github.com/otto-de/recsys-dataset"),
    "session-rec": Dataset(),
    "recbole": Dataset(keys=("session_id", "item_id", "timestamp")),
    "custom": Dataset(),
}
