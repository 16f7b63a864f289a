"""Read an export: manifest, checksums, vocabulary; without TensorFlow."""

import json
import os
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np

from gru4rec import config as config_module
from gru4rec.data.vocab import Vocabulary
from gru4rec.errors import CheckpointError, ConfigError, InputError
from gru4rec.export import FORMATS
from gru4rec.export.directory import MANIFEST, VERSION, VOCABULARY
from gru4rec.export.signature import Signature
from gru4rec.files.hashes import sha256

# Sessions of a call to a graph that takes any number of them; fewer if their scores of all items
# would take more than SCORE_BYTES.
ANY_LANES = 512
SCORE_BYTES = 64 << 20


class Graph(NamedTuple):
    """One graph of an export."""

    name: str
    path: str
    signature: Signature
    batch_sizes: Tuple[int, ...]  # sessions of a call that it was made for; empty: any number
    num_items: int


class Exported(NamedTuple):
    """The content of the directory of an export."""

    directory: str
    format: str  # one of export.FORMATS
    config: Any  # config.Config of the checkpoint
    vocabulary: Vocabulary  # every support is 1: an export does not hold them
    graphs: Dict[str, Graph]
    manifest: Dict[str, Any]


def read(directory):
    """Read and check an export -> Exported.

    Raises: CheckpointError naming the file that is missing, damaged, or not what the manifest says.
    """
    path = os.path.join(directory, MANIFEST)
    try:
        with open(path, encoding="ascii") as file:
            manifest = json.load(file)
        if manifest["version"] != VERSION or manifest["format"] not in FORMATS:
            raise ValueError("not an export of version %d" % VERSION)
        graphs = {name: Graph(name, os.path.join(directory, entry["file"]),
                              Signature.from_dict(entry), tuple(entry.get("batch_sizes", ())),
                              int(manifest["num_items"]))
                  for name, entry in manifest["graphs"].items()}
        config = config_module.from_dict(manifest["config"])
        _verify(directory, manifest["sha256"])
    except FileNotFoundError:
        raise CheckpointError("%s holds no export (no %s); make one with python -m gru4rec.export"
                              % (directory, MANIFEST)) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
            ConfigError) as error:
        if isinstance(error, CheckpointError):
            raise
        what = "%s: %s" % (type(error).__name__, " ".join(str(error).split())[:120])
        raise _damaged(path, what) from error
    return Exported(directory, manifest["format"], config,
                    vocabulary(os.path.join(directory, VOCABULARY)), graphs, manifest)


def _damaged(path, what):
    return CheckpointError("%s is damaged: %s; export again" % (path, what))


def _verify(directory, digests):
    for name, digest in digests.items():
        path = os.path.join(directory, name)
        try:
            actual = sha256(path)
        except OSError as error:
            raise _damaged(path, error.strerror or "cannot be read") from error
        if actual != digest:
            raise _damaged(path, "its checksum is not what the manifest says")


def vocabulary(path):
    """The data.vocab.Vocabulary in a vocabulary.json.

    Raises: CheckpointError if it is no list of whole numbers, or of strings.
    """
    try:
        with open(path, encoding="ascii") as file:
            ids = json.load(file)
        kinds = {type(value) for value in ids}
        if not ids or kinds not in ({int}, {str}):
            raise ValueError("not a list of whole numbers, or of strings")
        kind = np.int64 if kinds == {int} else object
        return Vocabulary(np.array(ids, kind), np.ones(len(ids), np.int64))
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error


def graph(export, name):
    """The Graph of this name of an Exported.

    Raises: InputError if there is none.
    """
    if name not in export.graphs:
        raise InputError("--graph %s: %s holds %s; use one of them"
                         % (name, export.directory, ", ".join(sorted(export.graphs))))
    return export.graphs[name]


def lanes_of(graph):
    """Sessions of a call: the largest number that the graph was made for, else see ANY_LANES."""
    if graph.batch_sizes:
        return max(graph.batch_sizes)
    return min(ANY_LANES, max(1, SCORE_BYTES // (4 * graph.num_items)))
