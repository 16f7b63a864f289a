"""What stands for parts that need TensorFlow in tests without it."""

import types

from gru4rec.parallel.workers import ALONE

# as much of a device.base.Device of one process alone as training asks for
DEVICE = types.SimpleNamespace(workers=ALONE, communicator=types.SimpleNamespace(exchange=None))
