"""Whether an NPU can be used: what is there, and one operation in a process of its own.

The adapter opens the device at the first run of a session, and some releases end the process
(SIGABRT) if that fails. In a child process that is a message.
"""

import json
import os
import signal
import subprocess
import sys

from gru4rec import tf_compat
from gru4rec.device import describe
from gru4rec.errors import DeviceError
from gru4rec.tf_compat import tf

SECONDS = 300  # the first compilation of an operator takes its time
# what the adapter logs once a graph is on the device
COMPILED = "has been compiled on the Ascend AI processor"
_RESULT = "gru4rec probe result: "
_CHILD = "from gru4rec.device import probe; probe.child(%r)"
_HINTS = (
    ("Initialize ge failed",
     "is the device busy or ASCEND_DEVICE_ID wrong? `npu-smi info` shows who uses it; see also "
     "$HOME/ascend/log/run/plog"),
    ("libascend_hal",
     "the driver's libraries are not found; source set_env.sh and check /usr/local/Ascend/driver"),
    ("libge_runner", "source CANN's set_env.sh in this shell"),
)


def report(name="npu", options=None):
    """What is there of a device, as a dict for JSON; `usable` and `missing` say the rest. No
    session is made.
    """
    found = {"device": name, "versions": describe.versions(), "environment": describe.environment()}
    if name == "npu":
        from gru4rec.device import npu
        found.update(npu.findings())
    try:
        from gru4rec import device
        found["reason"] = device.choose(name, options, "infer").reason
        found["usable"], found["missing"] = True, None
    except DeviceError as error:
        found["usable"], found["missing"] = False, str(error)
    return found


def child(name):
    """One product of two matrices on a device; prints its result. Runs in the child process alone.
    """
    tf_compat.setup()
    from gru4rec import device
    try:
        chosen = device.choose(name, None, "infer")
        with tf.Graph().as_default():
            left = tf.placeholder(tf.float32, [2, 2])
            product = tf.matmul(left, tf.constant([[1.0, 2.0], [3.0, 4.0]]))
            with tf.Session(config=chosen.session_config()) as session:
                value = session.run(product, {left: [[1.0, 0.0], [0.0, 1.0]]})
        print(_RESULT + json.dumps({"value": value.tolist()}))
    except (DeviceError, tf.errors.OpError) as error:
        print(_RESULT + json.dumps({"error": " ".join(str(error).split())[:500]}))


def one_op(name="npu", seconds=SECONDS):
    """Run `child` in a process of its own.

    Returns: dict: ok, message (one line), compiled_on_device (True where the adapter's log says
    so, else None)."""
    env = dict(os.environ, ASCEND_GLOBAL_LOG_LEVEL="1", ASCEND_SLOG_PRINT_TO_STDOUT="1")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    env["PYTHONPATH"] = os.pathsep.join([root] + [p for p in [os.environ.get("PYTHONPATH")] if p])
    try:
        done = subprocess.run([sys.executable, "-c", _CHILD % name], env=env, timeout=seconds,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True, errors="replace")
    except subprocess.TimeoutExpired:
        return {"ok": False, "compiled_on_device": None,
                "message": "one product took longer than %d s; see $HOME/ascend/log/run/plog"
                % seconds}
    lines = done.stdout.splitlines()
    result = next((json.loads(line[len(_RESULT):]) for line in lines if line.startswith(_RESULT)),
                  None)
    found = {"compiled_on_device": True if any(COMPILED in line for line in lines) else None}
    if result is not None and "value" in result:
        right = result["value"] == [[1.0, 2.0], [3.0, 4.0]]
        message = ("one product ran" if right
                   else "one product gave %s instead of [[1, 2], [3, 4]]" % result["value"])
        return dict(found, ok=right, message=message)
    return dict(found, ok=False, message=_why(done.returncode, lines, (result or {}).get("error")))


def _why(status, lines, error):
    """One line: how the child ended, the last thing it said, and what may mend it."""
    if error is None:
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        how = ("ended by %s"
               % _signal_name(-status)) if status < 0 else "ended with status %d" % status
        error = "the process was %s: %s" % (how, said[:300])
    text = "\n".join(lines + [error])
    hints = [hint for sign, hint in _HINTS if sign in text]
    return "; ".join([error] + hints[:1])


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number
