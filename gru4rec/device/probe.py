"""Whether a device can be used: what is there, and one operation in a process of its own.

The adapter of an NPU opens the device at the first run of a session, and some releases end the
process (SIGABRT) if that fails. In a child process this becomes a message.
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

SECONDS = 300  # the first compilation of an operator is slow
# The adapter logs this once a graph is on the device.
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


def report(name="npu"):
    """What a device needs and what of it is here; makes no session.

    Returns: dict for JSON; "usable" tells whether it can be used, "missing" what is not there.
    """
    facts = {"device": name, "versions": describe.versions(), "environment": describe.environment()}
    if name == "npu":
        from gru4rec.device import npu
        facts.update(npu.findings())
    try:
        from gru4rec import device
        facts["reason"] = device.choose(name, job="infer").reason
        facts["usable"], facts["missing"] = True, None
    except DeviceError as error:
        facts["usable"], facts["missing"] = False, str(error)
    return facts


def child(name):
    """Compute one product of two matrices on a device and print it; only for the child process."""
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


def child_environment(**more):
    """The environment of a child process that must find this package; `more` variables are set."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = [root] + [text for text in [os.environ.get("PYTHONPATH")] if text]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(path), **more)


def one_op(name="npu", seconds=SECONDS):
    """Run `child` in a process of its own.

    Returns: dict: ok, message (one line), compiled_on_device (True where the adapter's log says so,
      else None).
    """
    env = child_environment(ASCEND_GLOBAL_LOG_LEVEL="1", ASCEND_SLOG_PRINT_TO_STDOUT="1")
    try:
        done = subprocess.run([sys.executable, "-c", _CHILD % name], env=env, timeout=seconds,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, errors="replace")
    except subprocess.TimeoutExpired:
        return {"ok": False, "compiled_on_device": None,
                "message": "one product took longer than %d s; see $HOME/ascend/log/run/plog"
                % seconds}
    lines = done.stdout.splitlines()
    result = next((json.loads(line[len(_RESULT):]) for line in lines if line.startswith(_RESULT)),
                  {})
    if "value" in result:
        ok = result["value"] == [[1.0, 2.0], [3.0, 4.0]]
        message = "one product ran"
        if not ok:
            message = "one product gave %s instead of [[1, 2], [3, 4]]" % result["value"]
    else:
        ok, message = False, _why(done.returncode, lines, result.get("error"))
    return {"ok": ok, "message": message,
            "compiled_on_device": True if any(COMPILED in line for line in lines) else None}


def _why(status, lines, error):
    """One line: how the child ended, the last line it wrote, and what may fix it."""
    if error is None:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        how = "ended with status %d" % status
        if status < 0:
            how = "ended by %s" % _signal_name(-status)
        error = "the process was %s: %s" % (how, last[:300])
    text = "\n".join(lines + [error])
    hints = [hint for sign, hint in _HINTS if sign in text]
    return "; ".join([error] + hints[:1])


def _signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number
