"""What runs an exported graph: TensorFlow or ONNX Runtime on the CPU, or pyACL on an NPU.

Each is an object with `signature`, `lanes` (sessions of a call), `run` and `close`.
"""

from gru4rec.errors import InputError
from gru4rec.export.exported import lanes_of


def check(export, graph, runtime):
    """Refuse a runtime whose files are missing.

    Args:
      export: export.exported.Exported. graph: one of its graphs. runtime: as for `open_graph`.
    Raises: InputError, DeviceError.
    """
    if runtime == "acl":
        from gru4rec.offline.acl_runtime import om_path
        if export.format != "frozen_pb":
            raise InputError("--runtime acl runs what atc made of --format frozen_pb; %s holds %s"
                             % (export.directory, export.format))
        om_path(graph)


def open_graph(export, graph, runtime="auto", device_id=0):
    """Load a graph of an export.exported.Exported -> its runtime.

    Args:
      runtime: "auto" (on the CPU, in what its format needs) or "acl" (the .om beside a .pb, on the
        NPU `device_id`).
    Raises: InputError or DeviceError if the runtime cannot be used.
    """
    check(export, graph, runtime)
    if runtime == "acl":
        from gru4rec.offline.acl_runtime import OmModel
        return OmModel(graph, device_id)
    runtimes = {"frozen_pb": FrozenGraph, "saved_model": SavedModel, "onnx": OnnxModel}
    return runtimes[export.format](graph)


class _InTensorFlow:
    """A TensorFlow session that is fed and fetched by the names of the signature."""

    def __init__(self, graph):
        from gru4rec import tf_compat
        tf_compat.setup()
        self._tf = tf_compat.tf
        self.signature, self.lanes = graph.signature, lanes_of(graph)
        self._session = self._tf.Session(graph=self._tf.Graph(),
                                         config=self._tf.ConfigProto(device_count={"GPU": 0}))
        with self._session.graph.as_default():
            self._feeds, self._fetches = self._load(graph)

    def run(self, values):
        """dict name -> array of every input -> dict name -> array of every output."""
        return self._session.run(self._fetches,
                                 {self._feeds[name]: value for name, value in values.items()})

    def close(self):
        self._session.close()


class FrozenGraph(_InTensorFlow):
    """A GraphDef."""

    def _load(self, graph):
        definition = self._tf.GraphDef()
        with open(graph.path, "rb") as file:
            definition.ParseFromString(file.read())
        self._tf.import_graph_def(definition, name="")
        return [{t.name: t.name + ":0" for t in side}
                for side in (graph.signature.inputs, graph.signature.outputs)]


class SavedModel(_InTensorFlow):
    """One signature of a SavedModel."""

    def _load(self, graph):
        loaded = self._tf.saved_model.load(self._session,
                                           [self._tf.saved_model.tag_constants.SERVING], graph.path)
        definition = loaded.signature_def[graph.name]
        return [{name: info.name for name, info in side.items()}
                for side in (definition.inputs, definition.outputs)]


class OnnxModel:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, graph):
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError("ONNX Runtime cannot be imported (%s); pip install onnxruntime"
                             % error) from None
        self.signature, self.lanes = graph.signature, lanes_of(graph)
        self._session = onnxruntime.InferenceSession(graph.path, providers=["CPUExecutionProvider"])
        self._outputs = [t.name for t in self.signature.outputs]

    def run(self, values):
        """As the other runtimes."""
        return dict(zip(self._outputs, self._session.run(self._outputs, values)))

    def close(self):
        self._session = None
