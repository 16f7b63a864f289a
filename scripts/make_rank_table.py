"""Write the rank table of one server, or check a table.

    python scripts/make_rank_table.py --server_id 10.0.0.1 --devices 0,1,2,3,4,5,6,7 --out 8p.json
    python scripts/make_rank_table.py --check 8p.json
"""

import json
import os
import sys
from dataclasses import dataclass
from typing import Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from gru4rec.command.flags import Command, flag  # noqa: E402
from gru4rec.command.kinds import int_list, name_list, whole  # noqa: E402
from gru4rec.command.process import exit_status, say, setup_logging  # noqa: E402
from gru4rec.device import rank_table  # noqa: E402
from gru4rec.errors import ConfigError  # noqa: E402


@dataclass(frozen=True)
class TableConfig:
    """What the table says."""

    check: Optional[str] = flag(None, "only check this table and write none", "file", shown="none")
    size: Optional[int] = flag(None, "number of ranks that the table to check must have",
                               kind=whole, low=1, shown="any number")
    server_id: str = flag("127.0.0.1", "address of this server, or another text that names it",
                          "address")
    devices: Tuple[int, ...] = flag(tuple(range(8)),
                                    "device numbers (/dev/davinci<n>), in rank order", "devices",
                                    kind=int_list, low=0)
    hccn_conf: str = flag("/etc/hccn.conf", "file of the devices' addresses (address_0=...)",
                          "file")
    device_ips: Optional[Tuple[str, ...]] = flag(
        None, "addresses of the devices, in the order of --devices; none leaves them out, which "
              "chips newer than 910A allow on one server", "addresses", kind=name_list,
        shown="those of --hccn_conf")
    out: str = flag("rank_table.json", "where to write the table", "file")


COMMAND = Command("python scripts/make_rank_table.py",
                  "Write the rank table of one server, or check a table.",
                  (("table", TableConfig),))


def run(argv):
    """Write or check a table."""
    options, = COMMAND.parse(argv)
    if options.check is not None:
        table = rank_table.load(options.check, options.size)
        say("%s is a rank table of %d devices"
            % (options.check, sum(len(s["device"]) for s in table["server_list"])))
        return
    table = rank_table.make(options.server_id, options.devices, _addresses(options))
    with open(options.out, "w", encoding="utf-8") as out:
        out.write(json.dumps(table, indent=2) + "\n")
    say("wrote %s: %d devices of %s" % (options.out, len(options.devices), options.server_id))


def _addresses(options):
    if options.device_ips is None:
        return rank_table.device_ips(options.hccn_conf)
    if options.device_ips == ("none",):
        return {}
    if len(options.device_ips) != len(options.devices):
        raise ConfigError("--device_ips has %d addresses, --devices %d"
                          % (len(options.device_ips), len(options.devices)))
    return dict(zip(options.devices, options.device_ips))


if __name__ == "__main__":
    setup_logging()
    sys.exit(exit_status(lambda: run(sys.argv[1:])))
