"""Rank tables of HCCL, version 1.0: which device of which server has which rank.

HCCL is the Ascend library by which NPUs exchange data. A table:

    {"status": "completed", "version": "1.0", "server_count": "1", "server_list": [
        {"server_id": "10.0.0.1", "device": [
            {"device_id": "0", "device_ip": "192.168.100.101", "rank_id": "0"}, ...]}]}

All values are text. Tables are written and checked here without any device, because the toolkit
answers a wrong one only with a time-out, minutes later.
"""

import ipaddress
import json
import re

from gru4rec.errors import ConfigError

VERSION = "1.0"
_HCCN = re.compile(r"\s*address_(\d+)\s*=\s*(\S+)\s*\Z")


def device_ips(path):
    """Read the addresses of devices from the lines `address_<n>=<ip>` of an hccn.conf.

    Returns: dict device number -> address.
    Raises: ConfigError if the file cannot be read or has no such line.
    """
    try:
        with open(path, encoding="utf-8") as lines:
            addresses = {int(m.group(1)): m.group(2) for m in map(_HCCN.match, lines) if m}
    except (OSError, ValueError) as error:
        raise ConfigError("%s cannot be read: %s; give the file with --hccn_conf, or --device_ips"
                          % (path, error)) from None
    if not addresses:
        raise ConfigError("%s has no line address_0=...; give --device_ips" % path)
    return addresses


def make(server_id, devices, ips):
    """The table of one server.

    Args:
      server_id: text, usually the server's address.
      devices: device numbers, in order of rank.
      ips: dict device number -> address; {} leaves all addresses out (one server with chips newer
        than 910A needs none).
    Returns: dict.
    Raises: ConfigError if a device has no address although others have one.
    """
    rows = []
    for rank, device in enumerate(devices):
        row = {"device_id": str(device), "rank_id": str(rank)}
        if ips:
            if device not in ips:
                raise ConfigError("device %d has no address; those known: %s"
                                  % (device, ", ".join(map(str, sorted(ips)))))
            row["device_ip"] = ips[device]
        rows.append(row)
    table = {"status": "completed", "version": VERSION, "server_count": "1",
             "server_list": [{"server_id": server_id, "device": rows}]}
    check(table, len(devices), "the table to write")
    return table


def load(path, size=None):
    """Read and check a table of `size` ranks (None: of any number).

    Raises: ConfigError, which names the file and the first thing that is wrong.
    """
    try:
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError("%s cannot be read as JSON: %s; write one with scripts/make_rank_table.py"
                          % (path, str(error).splitlines()[0])) from None
    check(table, size, path)
    return table


def check(table, size=None, path="rank table"):
    """Check a table of `size` ranks (None: of any number).

    Raises: ConfigError, which names `path` and the first thing that is wrong.
    """
    def wrong(what, remedy="write one with scripts/make_rank_table.py"):
        return ConfigError("%s: %s; %s" % (path, what, remedy))

    if not isinstance(table, dict):
        raise wrong("it is no JSON object")
    if "group_list" in table:
        raise wrong("it has the older form (group_list)")
    for key, value in (("status", "completed"), ("version", VERSION)):
        if table.get(key) != value:
            raise wrong("%s is %r instead of %r" % (key, table.get(key), value))
    servers = table.get("server_list")
    if not isinstance(servers, list) or not servers:
        raise wrong("server_list is no list of servers")
    if table.get("server_count") != str(len(servers)):
        raise wrong("server_count is %r, server_list has %d (all values are text)"
                    % (table.get("server_count"), len(servers)))
    ranks, names, addresses = [], set(), []
    for server in servers:
        if not isinstance(server, dict):
            server = {}
        name, devices = server.get("server_id"), server.get("device")
        if not isinstance(name, str) or not 0 < len(name) <= 64 or name in names:
            raise wrong("server_id %r is not text of 1 to 64 characters that no other server has"
                        % (name,))
        if not isinstance(devices, list) or not devices:
            raise wrong("server %s has no list of devices" % name)
        names.add(name)
        ranks.append([_device(device, name, wrong) for device in devices])
        ids = [device["device_id"] for device in devices]
        if len(set(ids)) < len(ids):
            raise wrong("server %s names a device_id twice: %s" % (name, ", ".join(ids)))
        addresses += [device.get("device_ip") for device in devices]
    _check_ranks(ranks, size, wrong)
    known = [address for address in addresses if address is not None]
    if known and (len(known) < len(addresses) or len(set(known)) < len(known)):
        raise wrong("some devices have no device_ip or share one; give each device its own, or "
                    "give none to any")
    if not known and len(servers) > 1:
        raise wrong("several servers need a device_ip for each device")


def _device(device, server, wrong):
    """Rank of a device entry."""
    if not isinstance(device, dict):
        raise wrong("a device of server %s is no JSON object" % server)
    for key in ("device_id", "rank_id"):
        if not isinstance(device.get(key), str) or not device[key].isdigit():
            raise wrong("%s %r of server %s is not a whole number as text"
                        % (key, device.get(key), server))
    if "device_ip" in device:
        try:
            ipaddress.ip_address(device["device_ip"])
        except ValueError:
            raise wrong("device_ip %r of server %s is no address"
                        % (device["device_ip"], server)) from None
    return int(device["rank_id"])


def _check_ranks(ranks, size, wrong):
    """ranks: of each server, the list of its ranks."""
    every = sorted(rank for server in ranks for rank in server)
    if every != list(range(len(every))):
        raise wrong("rank_id are %s instead of 0 to %d"
                    % (", ".join(map(str, every)), len(every) - 1))
    for server in ranks:
        if sorted(server) != list(range(min(server), min(server) + len(server))):
            raise wrong("the rank_id of a server are not consecutive: %s"
                        % ", ".join(map(str, server)))
    if size is not None and len(every) != size:
        raise wrong("it has %d ranks, %d are started" % (len(every), size),
                    "write one for %d, or start %d" % (size, len(every)))
