"""Session options of the Ascend adapter: a table of their types and values, and its checks.

The adapter does not check them. It reads exactly one field of each option, takes a value in another
field for 0, ignores a misspelt key, and ends the process (SIGABRT) over some values. So every key
has its field and its allowed values here, and contradictions are refused before TensorFlow sees
them. The user writes a key that the table lacks as `name:b`, `name:i` or `name:s`, which gives its
field.
"""

import re
from typing import Any, NamedTuple, Optional, Tuple

from gru4rec.errors import ConfigError


class Option(NamedTuple):
    """One key of `parameter_map`.

    field: the AttrValue field that the adapter reads: "b" | "i" | "s".
    since: first release of the adapter that reads it; "2021" for all known releases.
    values: those allowed; None for any. low: smallest whole number.
    pattern: regular expression that the whole text must match.
    reserved: what sets it instead of the user; None if the user may set it.
    """

    field: str
    since: str = "2021"
    values: Optional[Tuple[Any, ...]] = None
    low: Optional[int] = None
    pattern: Optional[str] = None
    reserved: Optional[str] = None


_MIXED = ("allow_mix_precision", "allow_mix_precision_fp16", "allow_mix_precision_bf16")
_MIXED_V2 = ("mixed_float16", "mixed_bfloat16", "mixed_hif8")
_STEPS = r"\d+(-\d+)?(\|\d+(-\d+)?){0,99}"

TABLE = {
    # Where and how the graph runs.
    "use_off_line": Option("b", reserved="--device npu"),  # run on the NPU, not on the host
    "mix_compile_mode": Option("b"),  # let unsupported ops run on the host
    "graph_run_mode": Option("i", values=(0, 1), reserved="the job: 0 inference, 1 training"),
    "iterations_per_loop": Option("i", low=1, reserved="--steps_per_run"),
    # the device fetches the next batch itself
    "enable_data_pre_proc": Option("b", reserved="--steps_per_run"),
    "session_device_id": Option("i", low=0),
    "deterministic": Option("i", "r1.12.0", (0, 1)),
    "hcom_parallel": Option("b"),
    "is_tailing_optimization": Option("b"),
    "variable_placement": Option("s", "r1.12.0", ("Device", "Host")),
    "jit_compile": Option("s", "r1.10.0", ("true", "false", "auto")),
    "static_memory_policy": Option("i", "r1.9.0", (0, 2, 3, 4)),
    "atomic_clean_policy": Option("i", "r1.9.0", (0, 1)),
    "graph_memory_max_size": Option("s", pattern=r"\d+"),
    "variable_memory_max_size": Option("s", pattern=r"\d+"),
    "external_weight": Option("b", "various"),
    "frozen_variable": Option("b", "various"),
    "input_shape": Option("s"),
    "dynamic_dims": Option("s"),
    "dynamic_node_type": Option("i", values=(0, 1)),
    # Precision.
    "precision_mode": Option("s", values=("force_fp32", "allow_fp32_to_fp16", "force_fp16",
                                          "must_keep_origin_dtype")
                             + _MIXED + ("allow_fp32_to_bf16", "cube_fp16in_fp32out")),
    "precision_mode_v2": Option("s", "r1.13.0", ("fp16", "origin", "cube_fp16in_fp32out")
                                + _MIXED_V2 + ("cube_hif8",)),
    "modify_mixlist": Option("s", "r1.5.0"),
    "customize_dtypes": Option("s", "r1.9.0"),
    "op_precision_mode": Option("s", "r1.5.0"),
    # What is recorded.
    "enable_dump": Option("b"),
    "dump_path": Option("s"),
    "dump_step": Option("s", pattern=_STEPS),
    "dump_mode": Option("s", values=("input", "output", "all")),
    "dump_data": Option("s", "r1.10.0", ("tensor", "stats")),
    "dump_layer": Option("s", "r1.11.0"),
    "enable_dump_debug": Option("b"),
    "dump_debug_mode": Option("s", values=("aicore_overflow", "atomic_overflow", "all")),
    "enable_exception_dump": Option("i", values=(0, 1, 2)),
    "profiling_mode": Option("b"),
    "profiling_options": Option("s", pattern=r"\{.*\}"),
    # The compiler.
    "op_compiler_cache_mode": Option("s", values=("enable", "disable", "force")),
    "op_compiler_cache_dir": Option("s"),
    "graph_compiler_cache_dir": Option("s", "r1.13.0"),
    "aoe_mode": Option("s", "r1.5.0", ("1", "2", "4")),
    "work_path": Option("s", "r1.5.0"),
    "aoe_config_file": Option("s", "r1.5.0"),
    "fusion_switch_file": Option("s", "various"),
    "enable_scope_fusion_passes": Option("s", "various"),
    "op_debug_config": Option("s", "various"),
    "debug_dir": Option("s", "various"),
    "stream_max_parallel_num": Option("s", "various"),
    "oo_level": Option("s", "various", ("O0", "O1", "O2", "O3")),
    "oo_constant_folding": Option("b", "various"),
    "export_compile_stat": Option("i", "various", (0, 1, 2)),
    # Time limits.
    "hccl_timeout": Option("i", "various", low=1),  # seconds
    "op_wait_timeout": Option("i", "various", low=1),  # seconds
    "op_execute_timeout": Option("i", "various", low=1),  # seconds
    "graph_exec_timeout": Option("i", "various", low=-1),
    "stream_sync_timeout": Option("i", "various", low=-1),  # milliseconds
    "event_sync_timeout": Option("i", "various", low=-1),  # milliseconds
}
_TYPES = {"b": (bool, "True or False"), "i": (int, "a whole number"), "s": (str, "text")}
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def defaults(job):
    """Options of a session for `job` ("train" | "infer"), as a dict."""
    return {
        "use_off_line": True,
        "mix_compile_mode": False,
        "graph_run_mode": 1 if job == "train" else 0,
        # Where it is not set, the oldest chips compute products in float16.
        "precision_mode": "must_keep_origin_dtype",
    }


def loop_options(steps_per_run):
    """The options that a loop of `steps_per_run` steps on the device needs; none for one step."""
    if steps_per_run <= 1:
        return {}
    return {"iterations_per_loop": steps_per_run, "enable_data_pre_proc": True}


def parse(text):
    """`key=value` or `key:type=value` of --npu_opt -> (key, typed value).

    A key that the table lacks keeps its `:type`.
    Raises: ConfigError naming the key, its value and what to give instead.
    """
    name, equals, value = text.partition("=")
    key, colon, field = name.partition(":")
    if not equals or not re.match(r"\w+\Z", key):
        raise ConfigError("--npu_opt %r is not key=value; write for example --npu_opt "
                          "hccl_timeout=600" % text)
    if colon and field not in _TYPES:
        raise ConfigError("--npu_opt %s has the type %r; use one of: b, i, s" % (key, field))
    if key not in TABLE and not colon:
        raise ConfigError("--npu_opt %s is not in the table of options (%s); if the adapter has "
                          "it, name its type: %s:b=, %s:i= or %s:s="
                          % (key, _alike(key), key, key, key))
    if key in TABLE and colon and field != TABLE[key].field:
        raise ConfigError("--npu_opt %s:%s has the wrong type: the adapter reads %s (%s)"
                          % (key, field, TABLE[key].field, _TYPES[TABLE[key].field][1]))
    if key in TABLE:
        return key, _typed(key, TABLE[key].field, value)
    return name, _typed(key, field, value)


def _typed(key, field, value):
    try:
        return {"b": lambda v: _TRUTHS[v.lower()], "i": int, "s": str}[field](value)
    except (KeyError, ValueError):
        raise ConfigError("npu option %s %r is not %s" % (key, value, _TYPES[field][1])) from None


def _alike(key):
    import difflib
    close = difflib.get_close_matches(key, TABLE, 3, 0.5)
    return "did you mean %s?" % ", ".join(close) if close else "%d keys" % len(TABLE)


def _field(key):
    """The field of a key of the table or of `name:type`; None for anything else."""
    if key in TABLE:
        return TABLE[key].field
    name, _, field = key.partition(":")
    return field if field in _TYPES and name and name not in TABLE else None


def check(given, job):
    """Refuse options that the adapter would ignore, or that would end the process.

    Args:
      given: dict of key (or `name:type`) -> value of the user.
      job: "train" | "infer".
    Raises: ConfigError naming the key, its value and what to give instead.
    """
    for key, value in given.items():
        field = _field(key)
        if field is None:
            raise ConfigError("npu option %r is unknown; known: %s"
                              % (key, ", ".join(sorted(TABLE))))
        kind, words = _TYPES[field]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError("npu option %s %r is not %s" % (key, value, words))
        if key in TABLE:
            _check_value(key, value, job)
    _check_together(given)


def _check_value(key, value, job):
    option = TABLE[key]
    if option.values is not None and value not in option.values:
        raise ConfigError("npu option %s %r is unknown; use one of: %s"
                          % (key, value, ", ".join(str(v) for v in option.values)))
    if option.low is not None and value < option.low:
        raise ConfigError("npu option %s %r is out of range; it must be at least %d"
                          % (key, value, option.low))
    if option.field == "i" and value > 2 ** 31 - 1:
        raise ConfigError("npu option %s %r is out of range; it must be below 2**31" % (key, value))
    if option.field == "s" and not value:
        raise ConfigError("npu option %s is empty; give a value or leave it out" % key)
    if option.pattern and not re.match(r"(?:%s)\Z" % option.pattern, value, re.DOTALL):
        raise ConfigError("npu option %s %r has the wrong form; it must look like %s"
                          % (key, value, option.pattern))
    if key in ("use_off_line", "graph_run_mode") and value != defaults(job)[key]:
        raise ConfigError("npu option %s %r contradicts --device npu with the job %r; leave it out"
                          % (key, value, job))


def _check_together(given):
    """Refuse options that contradict each other; every message names both."""
    has = given.get
    loop = has("iterations_per_loop", 1) > 1
    shapes = [key for key in ("input_shape", "dynamic_dims", "dynamic_node_type") if key in given]
    mixed = has("precision_mode") in _MIXED or has("precision_mode_v2") in _MIXED_V2
    dump, dump_flag = None, None
    if has("enable_dump"):
        dump, dump_flag = "enable_dump", "data_dump_path"
    elif has("enable_dump_debug"):
        dump, dump_flag = "enable_dump_debug", "over_dump_path"
    refused = (
        ("precision_mode" in given and "precision_mode_v2" in given,
         "precision_mode %s" % has("precision_mode"),
         "precision_mode_v2 %s" % has("precision_mode_v2"),
         "the adapter takes one of the two; leave one out"),
        ("modify_mixlist" in given and not mixed, "modify_mixlist",
         "a precision that is not mixed",
         "give --precision_mode allow_mix_precision or --precision_mode_v2 mixed_float16"),
        (has("enable_dump") and has("enable_dump_debug"), "enable_dump", "enable_dump_debug",
         "tensors or overflows are dumped, not both; give one of --data_dump_flag, --over_dump"),
        (dump and "dump_path" not in given, dump, "no dump_path",
         "give --%s, a directory that exists" % dump_flag),
        (loop and has("mix_compile_mode"), "iterations_per_loop %s" % has("iterations_per_loop"),
         "mix_compile_mode", "operators on the host end the loop on the device; leave one out"),
        (loop and "enable_data_pre_proc" in given and not has("enable_data_pre_proc"),
         "iterations_per_loop %s" % has("iterations_per_loop"), "enable_data_pre_proc False",
         "the loop must fetch its own batches; leave it out"),
        (has("variable_placement") == "Host" and not has("mix_compile_mode"),
         "variable_placement Host", "mix_compile_mode False",
         "variables on the host need mix_compile_mode=True"),
        (0 < len(shapes) < 3, " and ".join(shapes),
         "the rest of input_shape, dynamic_dims, dynamic_node_type",
         "the adapter takes all three or none"),
        (len(shapes) == 3 and has("graph_run_mode") == 1, "input_shape", "graph_run_mode 1",
         "these three options are for inference; leave them out"),
        ("aoe_mode" in given and "work_path" not in given, "aoe_mode %s" % has("aoe_mode"),
         "no work_path", "tuning writes its results there; give work_path="),
    )
    for wrong, one, other, remedy in refused:
        if wrong:
            raise ConfigError("npu option %s contradicts %s: %s" % (one, other, remedy))


def resolve(given, job, steps_per_run=1):
    """Checked options of a session: defaults of `job`, `given` over them, the loop on the device.

    Args:
      given, job: as for `check`. steps_per_run: steps of one session call on the device.
    Raises: ConfigError, as `check`; contradictions with a default count too.
    """
    options = defaults(job)
    if "precision_mode_v2" in given:
        del options["precision_mode"]
    check(given, job)
    options.update(given)
    for key, value in loop_options(steps_per_run).items():
        if options.setdefault(key, value) != value:
            raise ConfigError("npu option %s %r contradicts --steps_per_run %d; leave it out"
                              % (key, options[key], steps_per_run))
    _check_together(options)
    return options


def fill(parameter_map, options):
    """Write `options` into an empty protobuf map of AttrValue, where reading a key creates it."""
    for key, value in sorted(options.items()):
        field = _field(key)
        if field == "s":
            value = value.encode("utf-8")
        setattr(parameter_map[key.partition(":")[0]], field, value)


def read(parameter_map):
    """Options in a protobuf map of AttrValue, as dict key -> {"field", "value"}; text is str."""
    options = {}
    for key, attribute in sorted(parameter_map.items()):
        field = attribute.WhichOneof("value")
        value = getattr(attribute, field)
        if field == "s":
            value = value.decode("utf-8")
        options[key] = {"field": field, "value": value}
    return options
