"""Runs an .om on an Ascend NPU through pyACL.

Tested with a fake of the module `acl` only; it has never run on a device.
"""

import os

import numpy as np

from gru4rec.errors import DeviceError
from gru4rec.export.exported import lanes_of

# ACL_MEM_MALLOC_HUGE_FIRST, ACL_MEMCPY_HOST_TO_DEVICE, .._DEVICE_TO_HOST
HUGE_PAGES_FIRST, TO_DEVICE, TO_HOST = 0, 1, 2
GEAR = "ascend_mbatch_shape_data"  # the input that atc --dynamic_batch_size adds


def om_path(graph):
    """Path of the .om beside the .pb of an export.exported.Graph.

    Raises: DeviceError if there is none.
    """
    path = os.path.splitext(graph.path)[0] + ".om"
    if not os.path.isfile(path):
        raise DeviceError("%s is not there; make it with sh %s"
                          % (path, os.path.join(os.path.dirname(path), "atc.sh")))
    return path


class OmModel:
    """A model that atc compiled; each input and output has one device buffer, made once."""

    def __init__(self, graph, device_id=0):
        """graph: export.exported.Graph of the .pb; the .om lies beside it.

        Raises: DeviceError if pyACL, the device or the file cannot be used, or the .om was not
          made from this graph.
        """
        path = om_path(graph)
        try:
            import acl
        except ImportError as error:
            raise DeviceError("pyACL cannot be imported (%s); source CANN's set_env.sh in this "
                              "shell" % error) from None
        self._acl, self._path, self._device_id = acl, path, device_id
        self.signature, self.lanes = graph.signature, lanes_of(graph)
        self._gears = graph.batch_sizes  # several: the batch size is set before each call
        self._undo = []  # what `close` calls, last first
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _check(self, call, status):
        """Raise DeviceError naming the call, unless its status is 0."""
        if status != 0:
            raise DeviceError("%s: %s failed with status %s; look at npu-smi info and at CANN's log"
                              % (self._path, call, status))

    def _open(self):
        acl = self._acl
        self._check("acl.init", acl.init())
        self._undo.append(acl.finalize)
        self._check("acl.rt.set_device(%d)" % self._device_id, acl.rt.set_device(self._device_id))
        self._undo.append(lambda: acl.rt.reset_device(self._device_id))
        context, status = acl.rt.create_context(self._device_id)
        self._check("acl.rt.create_context", status)
        self._undo.append(lambda: acl.rt.destroy_context(context))
        self._model, status = acl.mdl.load_from_file(self._path)
        self._check("acl.mdl.load_from_file", status)
        self._undo.append(lambda: acl.mdl.unload(self._model))
        self._desc = acl.mdl.create_desc()
        self._undo.append(lambda: acl.mdl.destroy_desc(self._desc))
        self._check("acl.mdl.get_desc", acl.mdl.get_desc(self._desc, self._model))
        self._inputs = self._dataset(acl.mdl.get_num_inputs(self._desc),
                                     acl.mdl.get_input_size_by_index)
        self._outputs = self._dataset(acl.mdl.get_num_outputs(self._desc),
                                      acl.mdl.get_output_size_by_index)
        self._at = {t.name: self._input_index(t.name) for t in self.signature.inputs}
        self._gear_at = self._input_index(GEAR) if len(self._gears) > 1 else None
        self._check_sizes()

    def _dataset(self, count, size_of):
        """(dataset handle, [(device pointer, bytes)]) with a buffer for each tensor."""
        acl, buffers = self._acl, []
        dataset = acl.mdl.create_dataset()
        self._undo.append(lambda: acl.mdl.destroy_dataset(dataset))
        for index in range(count):
            size = size_of(self._desc, index)
            pointer, status = acl.rt.malloc(size, HUGE_PAGES_FIRST)
            self._check("acl.rt.malloc of %d bytes" % size, status)
            self._undo.append(lambda pointer=pointer: acl.rt.free(pointer))
            data = acl.create_data_buffer(pointer, size)
            self._undo.append(lambda data=data: acl.destroy_data_buffer(data))
            _, status = acl.mdl.add_dataset_buffer(dataset, data)
            self._check("acl.mdl.add_dataset_buffer", status)
            buffers.append((pointer, size))
        return dataset, buffers

    def _input_index(self, name):
        index, status = self._acl.mdl.get_input_index_by_name(self._desc, name)
        self._check("acl.mdl.get_input_index_by_name(%r)" % name, status)
        return index

    def _check_sizes(self):
        """Refuse an .om of another export, by the bytes of its inputs and outputs.

        A float output of half the bytes is float16.
        """
        inputs = [self._inputs[1][self._at[t.name]][1] for t in self.signature.inputs]
        outputs = [size for _, size in self._outputs[1]]
        expected = [[4 * self._count(t, self.lanes) for t in tensors]
                    for tensors in (self.signature.inputs, self.signature.outputs)]
        fits = inputs == expected[0] and len(outputs) == len(expected[1])
        self._dtypes = []
        for t, size, full in zip(self.signature.outputs, outputs, expected[1]):
            is_half = t.dtype == "float32" and 2 * size == full
            self._dtypes.append(np.dtype("float16" if is_half else t.dtype))
            fits = fits and (is_half or size == full)
        if not fits:
            raise DeviceError("%s is not of this export: inputs and outputs of %s and %s bytes, "
                              "expected %s and %s; run its atc.sh again"
                              % (self._path, inputs, outputs, expected[0], expected[1]))

    @staticmethod
    def _count(tensor, lanes):
        """Elements of a tensor in a call of `lanes` sessions."""
        return int(np.prod([lanes if n is None else n for n in tensor.shape]))

    def run(self, values):
        """dict name -> array of every input -> dict name -> array of every output."""
        acl, lanes = self._acl, len(next(iter(values.values())))
        for t in self.signature.inputs:
            host = np.ascontiguousarray(values[t.name], t.dtype)
            pointer, size = self._inputs[1][self._at[t.name]]
            self._check("acl.rt.memcpy",
                        acl.rt.memcpy(pointer, size, host.ctypes.data, host.nbytes, TO_DEVICE))
        if self._gear_at is not None:
            status = acl.mdl.set_dynamic_batch_size(self._model, self._inputs[0], self._gear_at,
                                                    lanes)
            self._check("acl.mdl.set_dynamic_batch_size(%d)" % lanes, status)
        self._check("acl.mdl.execute",
                    acl.mdl.execute(self._model, self._inputs[0], self._outputs[0]))
        outputs = {}
        for t, dtype, (pointer, _) in zip(self.signature.outputs, self._dtypes, self._outputs[1]):
            host = np.empty([lanes if n is None else n for n in t.shape], dtype)
            self._check("acl.rt.memcpy",
                        acl.rt.memcpy(host.ctypes.data, host.nbytes, pointer, host.nbytes, TO_HOST))
            outputs[t.name] = host.astype(t.dtype, copy=False)
        return outputs

    def close(self):
        """Give back everything that was taken, the last first."""
        while self._undo:
            self._undo.pop()()
