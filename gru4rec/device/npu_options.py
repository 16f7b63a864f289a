"""Session options of the Ascend adapter: a typed table, checked here because the adapter aborts or ignores instead.

The adapter reads exactly one field of each option, takes a value in another field for 0, and knows nothing of a
misspelt key. So every key has its field and its allowed values here, and nothing else reaches it.
"""

from typing import Any, NamedTuple, Optional, Tuple

from gru4rec.errors import ConfigError


class Option(NamedTuple):
    """field: the AttrValue field the adapter reads, "b" | "i" | "s"; values: those allowed, None for any."""

    field: str
    values: Optional[Tuple[Any, ...]] = None


TABLE = {
    "use_off_line": Option("b"),        # run on the NPU, not on the host
    "mix_compile_mode": Option("b"),    # let unsupported ops run on the host
    "graph_run_mode": Option("i", (0, 1)),  # 0 inference, 1 training
    "precision_mode": Option("s", (
        "force_fp32", "allow_fp32_to_fp16", "force_fp16", "must_keep_origin_dtype", "allow_mix_precision",
        "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_bf16", "cube_fp16in_fp32out")),
}
_TYPES = {"b": (bool, "True or False"), "i": (int, "a whole number"), "s": (str, "text")}


def defaults(job):
    """Options of a session for `job` ("train" | "infer"), as a dict."""
    return {
        "use_off_line": True,
        "mix_compile_mode": False,
        "graph_run_mode": 1 if job == "train" else 0,
        "precision_mode": "must_keep_origin_dtype",  # unset means float16 products on the oldest chips
    }


def check(given, job):
    """Refuse what the adapter would swallow.

    Args:
      given: dict of key -> value from the user.
      job: "train" | "infer".
    Raises: ConfigError naming the key, its value and what to give instead.
    """
    for key, value in given.items():
        if key not in TABLE:
            raise ConfigError("npu option %r is unknown; known: %s" % (key, ", ".join(sorted(TABLE))))
        option = TABLE[key]
        kind, words = _TYPES[option.field]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError("npu option %s %r is not %s" % (key, value, words))
        if option.values is not None and value not in option.values:
            raise ConfigError("npu option %s %r is unknown; use one of: %s"
                              % (key, value, ", ".join(str(v) for v in option.values)))
        if key in ("use_off_line", "graph_run_mode") and value != defaults(job)[key]:
            raise ConfigError("npu option %s %r contradicts --device npu with the job %r; leave it out"
                              % (key, value, job))


def resolve(given, job):
    """Checked options of a session: the defaults of `job`, overlaid with `given`."""
    check(given, job)
    return dict(defaults(job), **given)


def fill(parameter_map, options):
    """Write `options` into an empty protobuf map of AttrValue; reading a key there would create it."""
    for key, value in sorted(options.items()):
        field = TABLE[key].field
        setattr(parameter_map[key], field, value.encode("utf-8") if field == "s" else value)
