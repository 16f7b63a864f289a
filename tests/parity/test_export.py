"""Every kind of model in every format against float64, and what the graphs are made of."""

import json

import numpy as np
import pytest

pytest.importorskip("gru4rec.tf_compat", reason="TensorFlow is not installed")
from gru4rec.errors import InputError  # noqa: E402
from gru4rec.export import (  # noqa: E402
    directory,
    exported,  # noqa: E402
    frozen_pb,
    graphs,
    onnx_model,
    saved_model,
)
from gru4rec.offline import runtimes  # noqa: E402
from gru4rec.tf_compat import tf  # noqa: E402
from tests.parity import exports  # noqa: E402
from tests.parity.exports import LANES, LENGTH, MODELS, NUM_ITEMS, K  # noqa: E402

# Ops of the frozen graphs -> their attributes in TensorFlow 1.15. A newer one may add attributes,
# if at their defaults.
OPS = {"Const": {"dtype", "value"}, "Placeholder": {"dtype", "shape"}, "Identity": {"T"},
       "Softmax": {"T"},
       "MatMul": {"T", "transpose_a", "transpose_b"},
       "GatherV2": {"Tparams", "Tindices", "Taxis", "batch_dims"},
       "ConcatV2": {"T", "N", "Tidx"}, "Split": {"T", "num_split"},
       "SplitV": {"T", "Tlen", "num_split"},
       "Unpack": {"T", "num", "axis"}, "ExpandDims": {"T", "Tdim"},
       "Cast": {"SrcT", "DstT", "Truncate"},
       "TopKV2": {"T", "sorted"}, "Equal": {"T"}, "Less": {"T"}, "Square": {"T"},
       "Sum": {"T", "Tidx", "keep_dims"}, "Rsqrt": {"T"}}
OPS.update({name: {"T"} for name in ("Add", "AddV2", "Sub", "Mul", "Sigmoid", "Tanh", "Relu", "Exp",
                                     "Maximum", "Minimum")})


def frozen(place, source, k=K, batch_sizes=(LANES,)):
    """export.exported.Exported of frozen graphs."""
    directory.write_vocabulary(str(place / directory.VOCABULARY), source.vocabulary)
    graphs = frozen_pb.write(str(place), source, batch_sizes, LENGTH, k, "Ascend310")
    directory.write_manifest(str(place), "frozen_pb", source, graphs, {})
    return exported.read(str(place))


def saved_model_(place, source, k=K):
    """export.exported.Exported of a SavedModel."""
    directory.write_vocabulary(str(place / directory.VOCABULARY), source.vocabulary)
    directory.write_manifest(str(place), "saved_model", source,
                             saved_model.write(str(place), source, k), {})
    return exported.read(str(place))


def onnx_(place, source, k=K):
    """export.exported.Exported of ONNX files."""
    pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed (extra onnx)")
    directory.write_vocabulary(str(place / directory.VOCABULARY), source.vocabulary)
    directory.write_manifest(str(place), "onnx", source, onnx_model.write(str(place), source, k),
                             {})
    return exported.read(str(place))


WRITERS = {"frozen_pb": frozen, "saved_model": saved_model_, "onnx": onnx_}


def by_role(tensors, values):
    """Role -> list of arrays, states by layer."""
    found = {}
    for tensor in tensors:
        found.setdefault(tensor.role, []).append(values[tensor.name])
    return found


@pytest.mark.machine
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", MODELS)
def test_step_and_prefix_equal_the_reference(tmp_path, name, kind):
    source = exports.source(name)
    reference, found = exports.Reference(source), WRITERS[kind](tmp_path, source)
    runner = runtimes.open_graph(found, found.graphs["step"])
    ids, states = exports.step_inputs(source.model)
    values = runner.run(dict(zip([t.name for t in runner.signature.inputs], [ids] + states)))
    runner.close()
    got, new = by_role(runner.signature.outputs, values), reference.step(ids, states)
    scores = reference.scores(new)
    assert len(got["new_state"]) == source.model.layer
    for ours, theirs, old in zip(got["new_state"], new, states):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(ours[[0, 1, 3]], old[[0, 1, 3]])  # unknown ids
        assert not np.array_equal(ours[2], old[2])
    expected = exports.softmax(scores) if kind == "frozen_pb" else scores
    np.testing.assert_allclose(got["scores"][0], expected, rtol=1e-5, atol=1e-5)
    if kind != "frozen_pb":
        exports.assert_best(got["top_ids"][0], got["top_scores"][0], scores)
    runner = runtimes.open_graph(found, found.graphs["prefix"])
    ids, lengths = exports.prefix_inputs()
    values = runner.run({"ids": ids, "lengths": lengths})
    runner.close()
    exports.assert_best(values["top_ids"], values["top_scores"], reference.prefix(ids, lengths))


def test_frozen_graphs_hold_inference_alone(tmp_path):
    for name in MODELS:
        place = tmp_path / name
        place.mkdir()
        found = frozen(place, exports.source(name))
        names = set()
        for graph in found.graphs.values():
            definition = tf.GraphDef()
            with open(graph.path, "rb") as file:
                definition.ParseFromString(file.read())
            assert not definition.library.function
            for node in definition.node:
                assert set(node.attr) <= OPS[node.op], (name, node.name, node.op, set(node.attr))
                assert not node.device
                names.add(node.name)
        assert {"input", "rnn_state", "logits", "new_state", "ids", "lengths", "top_ids",
                "top_scores"} <= names
        assert ("rnn_state_1" in names) == ("new_state_1"
                                            in names) == (found.config.model.layer > 1)


def test_frozen_graphs_of_several_batch_sizes_take_any(tmp_path):
    source = exports.source("gru-none-elu-2")
    reference, found = exports.Reference(source), frozen(tmp_path, source, batch_sizes=(1, 2, 8))
    assert exported.lanes_of(found.graphs["prefix"]) == 8
    assert found.graphs["step"].signature.inputs[0].shape == (None,)
    runner = runtimes.open_graph(found, found.graphs["prefix"])
    for lanes in (4, 5, 9):
        ids, lengths = exports.prefix_inputs(lanes)
        values = runner.run({"ids": ids, "lengths": lengths})
        exports.assert_best(values["top_ids"], values["top_scores"], reference.prefix(ids, lengths))
    runner.close()
    runner = runtimes.open_graph(found, found.graphs["step"])
    ids, states = exports.step_inputs(source.model, 11)
    values = runner.run({"input": ids, "rnn_state": states[0], "rnn_state_1": states[1]})
    runner.close()
    np.testing.assert_allclose(values["new_state_1"], reference.step(ids, states)[1], rtol=1e-5,
                               atol=1e-5)


@pytest.mark.parametrize("kind", WRITERS)
def test_lists_are_never_longer_than_the_catalogue_and_equals_go_by_index(tmp_path, kind):
    source = exports.source("gru-separate-tanh")
    source.weights["softmax_w"][...] = 0.0
    source.weights["softmax_b"][...] = [i % 3 for i in range(NUM_ITEMS)]
    found = WRITERS[kind](tmp_path, source, 100)
    assert found.graphs["prefix"].signature.outputs[0].shape[1] == NUM_ITEMS
    runner = runtimes.open_graph(found, found.graphs["prefix"])
    ids, lengths = exports.prefix_inputs()
    values = runner.run({"ids": ids, "lengths": lengths})
    runner.close()
    expected = sorted(range(NUM_ITEMS), key=lambda i: (-(i % 3), i))
    assert values["top_ids"].tolist() == [expected] * LANES


def test_the_vocabulary_keeps_ids_as_they_are(tmp_path):
    for text_ids in (False, True):
        source = exports.source("gru-separate-tanh", text_ids=text_ids)
        (tmp_path / str(text_ids)).mkdir()
        found = frozen(tmp_path / str(text_ids), source)
        assert found.vocabulary.ids.tolist() == source.vocabulary.ids.tolist()
        assert found.vocabulary.is_integer is not text_ids
        with open(str(tmp_path / str(text_ids) / "vocabulary.json"), encoding="ascii") as file:
            assert json.load(file) == source.vocabulary.ids.tolist()


def test_a_graph_of_any_number_of_sessions_gets_as_many_as_memory_bears(tmp_path):
    graph = saved_model_(tmp_path, exports.source("gru-separate-tanh")).graphs["prefix"]
    assert [exported.lanes_of(graph._replace(num_items=n))
            for n in (23, 10 ** 6, 10 ** 8)] == [512, 16, 1]


def test_weights_beyond_the_limit_lie_beside_the_onnx_file_and_are_refused_in_a_tensorflow_graph(
        tmp_path, monkeypatch):
    source = exports.source("gru-separate-tanh")
    monkeypatch.setattr(graphs, "MAX_BYTES", source.num_bytes - 1)
    with pytest.raises(InputError, match="at most 2 GiB.*--format onnx"), tf.Graph().as_default():
        graphs.constants(source)
    monkeypatch.setattr(onnx_model, "INLINE_BYTES", source.num_bytes - 1)
    found = onnx_(tmp_path, source)
    assert {"step.onnx.data", "prefix.onnx.data"} <= set(found.manifest["sha256"])
    runner = runtimes.open_graph(found, found.graphs["prefix"])
    ids, lengths = exports.prefix_inputs()
    values = runner.run({"ids": ids, "lengths": lengths})
    exports.assert_best(values["top_ids"], values["top_scores"],
                        exports.Reference(source).prefix(ids, lengths))
