"""How many processes train together, and which of them this is.

One process drives one device. On NPUs the launcher sets the environment (RANK_SIZE and RANK_ID, or
CM_WORKER_SIZE where there is no rank table). No device is asked, so wrong settings are found before
any device is opened.
"""

import os
from typing import NamedTuple

from gru4rec.errors import ConfigError


class Workers(NamedTuple):
    """size: processes that train together. rank: number of this one, 0 <= rank < size."""

    size: int = 1
    rank: int = 0


ALONE = Workers()


def from_environment(npu_nums=None, environment=None):
    """Workers as the launcher's environment variables give them.

    Args:
      npu_nums: --npu_nums, or None. environment: dict, os.environ if None.
    Raises: ConfigError naming the variable, its value and what to set.
    """
    env = os.environ if environment is None else environment
    if env.get("RANK_SIZE") and env.get("CM_WORKER_SIZE"):
        raise ConfigError("RANK_SIZE %s and CM_WORKER_SIZE %s are both set: use a rank table or a "
                          "chief, not both; unset one"
                          % (env["RANK_SIZE"], env["CM_WORKER_SIZE"]))
    name = "CM_WORKER_SIZE" if env.get("CM_WORKER_SIZE") else "RANK_SIZE"
    size = _whole(env, name, 1, 1)
    if npu_nums is not None and npu_nums != size:
        raise ConfigError("--npu_nums %d contradicts %s %d; start one process for each device "
                          "(run_npu_8p.sh does), or leave it out" % (npu_nums, name, size))
    if size == 1:
        return ALONE
    if not env.get("JOB_ID"):
        raise ConfigError("%s is %d but JOB_ID is not set; set it to any word, the same for every "
                          "process" % (name, size))
    if name == "RANK_SIZE" and not env.get("RANK_TABLE_FILE"):
        raise ConfigError("RANK_SIZE is %d but RANK_TABLE_FILE is not set; write one with "
                          "scripts/make_rank_table.py" % size)
    if not env.get("RANK_ID"):
        raise ConfigError("%s is %d but RANK_ID is not set; set it to the number of this process, "
                          "from 0" % (name, size))
    return Workers(size, _whole(env, "RANK_ID", 0, 0, size))


def _whole(env, name, default, low, below=4097):
    text = env.get(name) or str(default)
    if not text.isdigit() or not low <= int(text) < below:
        raise ConfigError("%s %r is not a whole number in [%d, %d)" % (name, text, low, below))
    return int(text)
