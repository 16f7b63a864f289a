"""The graph an NPU would get: its ops, static shapes, one set of fetches, losses in float16."""

import os
import sys

import numpy as np
import pytest

from gru4rec import config, device, tf_compat
from gru4rec.device import npu
from gru4rec.engine import create
from gru4rec.evaluation import evaluator
from gru4rec.graph import losses
from gru4rec.model import state
from gru4rec.tf_compat import tf
from tests import helpers

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fake_npu  # noqa: E402

ADAPTER = "npu_device" if tf_compat.IS_TF2 else "npu_bridge"
ITEMS = 300

FLAGS = {
    "defaults": {},
    "sampled": dict(loss="bpr-max", n_sample=300, optimizer="adagrad", embed_dropout=0.1,
                    grad_cap=1, mask_hits=1),
    "logq": dict(n_sample=5, logq=1, optimizer="rmsprop", momentum=0.1, embedding="shared",
                 label_smoothing=0.1),
    "full": dict(loss="full-cross-entropy", optimizer="sgd", cell="official", embedding="none"),
    "pairs": dict(loss="bpr", size="6,4", hidden_act="relu"),
    "top1": dict(loss="top1-max", hidden_act="elu"),
    "scaled": dict(loss_scale="dynamic"), "looped": dict(steps_per_run=4, loss_scale=1024)}

# What an NPU runs according to its list of operators (IR), by the name of TensorFlow's op. A human
# looks at any other op before it is added here.
ON_DEVICE = set("""
    Add AddV2 AddN Sub Mul RealDiv Neg Square Sqrt Rsqrt Exp Log Log1p Maximum Minimum Pow
    Reciprocal FloorMod Floor Abs Sigmoid SigmoidGrad Tanh TanhGrad Relu ReluGrad Softplus
    SoftplusGrad Softmax LogSoftmax SqrtGrad RsqrtGrad ReciprocalGrad
    SparseSoftmaxCrossEntropyWithLogits MatMul BatchMatMulV2 Sum Max Mean Prod All ArgMax IsFinite
    Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot Select
    SelectV2 GatherV2 Gather ScatterUpdate ScatterAdd UnsortedSegmentSum ConcatV2 Concat Split
    SplitV Pack Unpack Reshape ExpandDims Squeeze StridedSlice StridedSliceGrad Slice Transpose Tile
    Fill ZerosLike OnesLike Range OneHot MatrixDiag MatrixDiagV2 MatrixDiagV3 MatrixSetDiag
    MatrixSetDiagV2 MatrixSetDiagV3 Pad Cast Const Identity NoOp Placeholder PlaceholderWithDefault
    Shape Size Rank BroadcastGradientArgs BroadcastTo InvertPermutation ConcatOffset DynamicStitch
    PreventGradient StopGradient FloorDiv BroadcastArgs Inv InvGrad ZerosLike SquaredDifference
    VariableV2 Assign AssignAdd AssignSub ApplyAdam RandomUniform IsVariableInitialized
""".split())
# Made by the fake in the place of the adapter's own ops, or of the dataset that stays on the host.
OF_THE_FAKE = {"RandomUniform"}
OF_THE_HOST = {"TensorSliceDataset", "IteratorV2", "MakeIterator", "IteratorToStringHandle",
               "OneShotIterator"}
FED_BY_THE_HOST = {"IteratorGetNext"}
# Ops that NPUs lack, or that leave shapes open.
FORBIDDEN = set("""
    Where Unique UniqueV2 BooleanMask PyFunc PyFuncStateless EagerPyFunc StatelessRandomUniform
    StatelessRandomUniformV2 ResourceGather VarHandleOp ReadVariableOp ResourceScatterUpdate While
    Enter Exit Switch Merge PartitionedCall StatefulPartitionedCall Bitcast TopKV2 BitwiseXor
    RightShift HashTableV2 StringJoin
""".split())


@pytest.fixture
def chosen(monkeypatch):
    """function (steps of a call) -> device.base.Device, a fake NPU."""
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    with fake_npu.installed(ADAPTER):
        yield lambda steps=1: device.choose("npu", steps_per_run=steps)


@pytest.fixture(params=sorted(FLAGS))
def engine(request, chosen):
    flags = dict(dict(size=6, batch_size=8, dropout=0.2, device="npu"), **FLAGS[request.param])
    cfg = config.from_flags({name: str(value) for name, value in flags.items()})
    made = create(cfg, chosen(flags.get("steps_per_run", 1)), state.initial(cfg, ITEMS), 10,
                  np.full(ITEMS, 3))
    yield made
    made.close()


def step_ops(engine):
    """Ops that a training call runs: what its fetches need, and nothing else of the graph."""
    seen, queue = set(), [fetch if isinstance(fetch, tf.Operation) else fetch.op
                          for fetch in engine._fetches]
    while queue:
        op = queue.pop()
        if op not in seen:
            seen.add(op)
            queue += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return seen


def test_only_ops_that_an_npu_has(engine):
    types = {op.type for op in step_ops(engine)}
    assert not types & FORBIDDEN
    assert (types <= ON_DEVICE | OF_THE_FAKE | FED_BY_THE_HOST
            | OF_THE_HOST), sorted(types - ON_DEVICE)


def test_every_tensor_has_a_static_shape(engine):
    # Gradients of broadcasts sum over axes that depend on shapes alone; static ones make them
    # constants.
    open_until_folded = {tensor for op in step_ops(engine) if op.type == "BroadcastGradientArgs"
                         for tensor in op.outputs}
    for op in step_ops(engine):
        if op.type in OF_THE_HOST or op.type == "BroadcastGradientArgs":
            continue
        if set(op.inputs) & open_until_folded:
            continue
        for tensor in op.outputs:
            assert tensor.shape.is_fully_defined(), (op.name, op.type, tensor.shape)
    for op in {tensor.op for tensor in open_until_folded}:
        for tensor in op.inputs:
            assert tf.get_static_value(tensor) is not None, op.name


def test_variables_are_ref_variables_and_indices_int32(engine):
    with engine._session.graph.as_default():
        for variable in tf.global_variables():
            assert variable.op.type == "VariableV2", variable.name
    for op in step_ops(engine):
        for tensor in op.outputs:
            known = tensor.dtype.base_dtype in (tf.float32, tf.int32, tf.bool)
            assert known or op.type in OF_THE_HOST, (op.name, op.type)


def test_one_set_of_fetches_and_a_graph_that_does_not_grow(engine):
    """Each new set of fetches, and each new op, would be another compilation of minutes."""
    lanes, steps = 8, engine.steps_per_run
    epoch = helpers.lengths_to_epoch([6] * 16, ITEMS, lanes)
    fetched = []
    run = engine._session.run

    def recording(fetches, *args, **kwargs):
        fetched.append(tuple(fetches) if isinstance(fetches, list) else fetches)
        return run(fetches, *args, **kwargs)

    engine._session.run = recording
    engine.start_epoch(epoch, 0)
    helpers.run_steps(engine, epoch, 0, steps)
    before, size = len(fetched), len(engine._session.graph.get_operations())
    helpers.run_steps(engine, epoch, steps, 2 * steps)
    assert len(fetched) == before + 1 and fetched[-1] == fetched[before - 1]
    assert len(engine._session.graph.get_operations()) == size


@pytest.mark.skipif(tf_compat.IS_TF2, reason="what is asked of TensorFlow 1.15")
def test_evaluation_has_static_shapes_and_ref_variables_too(chosen):
    cfg = config.from_flags({"size": "6", "batch_size": "8"})
    ranker = evaluator.Evaluator(cfg, chosen(), state.initial(cfg, ITEMS), 4)
    kinds = {op.type for op in ranker._session.graph.get_operations()}
    ranker.close()
    assert not kinds & (FORBIDDEN - {"While", "Enter", "Exit", "Switch", "Merge", "TopKV2"})


# --- float16


def fp16_losses(loss, scores, smoothing=0.0):
    cfg = config.from_flags({"loss": loss,
                             "label_smoothing": str(smoothing)} if smoothing else {"loss": loss})
    scores_bm = tf.constant(scores, tf.float16)
    columns = losses.Columns(tf.ones([scores.shape[1]], tf.float16))
    value_b = losses.per_lane(cfg.model, cfg.training, scores_bm, columns)
    gradient, = tf.gradients(value_b, scores_bm)
    with tf.Session(config=helpers.cpu().session_config()) as session:
        return session.run([value_b, gradient])


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr", "top1", "bpr-max", "top1-max"])
@pytest.mark.parametrize("scores", ["large", "far apart", "equal"])
def test_losses_and_their_gradients_are_finite_in_float16(loss, scores):
    """Softmax then log, or an epsilon of 1e-24 (0 in float16), would be infinite here."""
    made = {"large": np.full([4, 4], 60.0) + np.eye(4), "equal": np.zeros([4, 4]),
            "far apart": np.linspace(-60.0, 60.0, 16).reshape(4, 4)[::-1]}[scores]
    with tf.Graph().as_default():
        value_b, gradient = fp16_losses(loss, made)
    assert value_b.dtype == np.float16 and np.isfinite(value_b).all()
    assert np.isfinite(gradient).all()
    if scores == "far apart" and loss == "cross-entropy":
        assert value_b.max() > 10 and np.abs(gradient).max() > 0.5


def test_epsilons_do_not_vanish_in_float16():
    from gru4rec.graph import optimizers
    from gru4rec.model import lazy_adam
    assert np.float16(optimizers.EPSILON) > 0
    assert np.float32(lazy_adam.EPSILON) > 0 and np.float16(losses.MASKED) > -np.inf
