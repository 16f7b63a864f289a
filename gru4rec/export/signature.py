"""Names, types and shapes of the inputs and outputs of an exported graph, in every format."""

from typing import NamedTuple, Optional, Tuple

# Roles of inputs and outputs.
IDS, LENGTHS, STATE = "ids", "lengths", "state"
SCORES, TOP_IDS, TOP_SCORES, NEW_STATE = "scores", "top_ids", "top_scores", "new_state"
STEP, PREFIX = "step", "prefix"  # names of graphs: one click, or a whole session


class Tensor(NamedTuple):
    """One input or output."""

    name: str  # as the graph calls it
    role: str  # what it is, whatever its name; of the roles above
    dtype: str  # "int32" | "float32"
    shape: Tuple[Optional[int], ...]  # None: any
    layer: int = 0  # of a state

    def to_dict(self):
        return dict(self._asdict(), shape=list(self.shape))

    @classmethod
    def from_dict(cls, saved):
        """Inverse of `to_dict`; KeyError or TypeError if a key is missing."""
        return cls(saved["name"], saved["role"], saved["dtype"], tuple(saved["shape"]),
                   saved["layer"])


class Signature(NamedTuple):
    """Inputs and outputs of one graph, in the graph's order."""

    inputs: Tuple[Tensor, ...]
    outputs: Tuple[Tensor, ...]

    def to_dict(self):
        return {"inputs": [t.to_dict() for t in self.inputs],
                "outputs": [t.to_dict() for t in self.outputs]}

    @classmethod
    def from_dict(cls, saved):
        """Inverse of `to_dict`."""
        return cls(*[tuple(map(Tensor.from_dict, saved[side])) for side in ("inputs", "outputs")])


def numbered(name, layer):
    """Name of the state of a layer: rnn_state, rnn_state_1, rnn_state_2."""
    return "%s_%d" % (name, layer) if layer else name


def states(name, role, size, batch):
    """The state Tensor of each layer.

    Args: name: of the first one. size: units of each layer. batch: B, or None for any.
    """
    return tuple(Tensor(numbered(name, i), role, "float32", (batch, hidden), i)
                 for i, hidden in enumerate(size))


def of_step(size, num_items, batch, k=None, ids="ids", state="state", scores="scores"):
    """Signature of one step: ids, states -> scores, the k best items, new states.

    Args:
      size: units of each layer. num_items: I. batch: B, or None for any.
      k: length of the list; None: no list is an output. ids, state, scores: their names.
    """
    top = () if k is None else _top(batch, min(k, num_items))
    return Signature(
        (Tensor(ids, IDS, "int32", (batch,)),) + states(state, STATE, size, batch),
        (Tensor(scores, SCORES, "float32", (batch, num_items)),) + top
        + states("new_state", NEW_STATE, size, batch))


def of_prefix(num_items, batch, length, k):
    """Signature of whole sessions: ids [B, T], lengths [B] -> the k best items.

    Args: num_items: I. batch, length: B and T, None for any. k: length of the list.
    """
    return Signature((Tensor("ids", IDS, "int32", (batch, length)),
                      Tensor("lengths", LENGTHS, "int32", (batch,))),
                     _top(batch, min(k, num_items)))


def _top(batch, k):
    return (Tensor("top_ids", TOP_IDS, "int32", (batch, k)),
            Tensor("top_scores", TOP_SCORES, "float32", (batch, k)))
