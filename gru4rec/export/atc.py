"""The shell script that compiles a frozen graph for an Ascend NPU with atc, and its node list."""

import os

from gru4rec.export import signature

SCRIPT = """#!/bin/sh
# {name}.pb -> {name}.om, beside it. Source CANN's set_env.sh first. The chip is SOC_VERSION:
# "Ascend" and the name that npu-smi info shows. Arguments go on to atc, such as
# --precision_mode_v2=origin.
cd -- "$(dirname -- "$0")" || exit 2
if ! command -v atc >/dev/null 2>&1; then
    echo "error: atc is not on PATH; source CANN's set_env.sh first" >&2
    exit 2
fi
exec atc --framework=3 --model={name}.pb --output={name} \\
    --soc_version="${{SOC_VERSION:-{soc_version}}}" \\
    --input_shape="{input_shape}" \\
    --out_nodes="{out_nodes}" \\
{more}    --log=error "$@"
"""
KEEP = "keep_dtype.txt"  # lists the nodes that must stay float32


def write(folder, name, expected, batch_sizes, soc_version):
    """Write `atc.sh`, and `keep_dtype.txt` where a node must stay float32.

    Args:
      folder: where `name`.pb lies. expected: export.signature.Signature.
      batch_sizes: of a call; several become those of atc's --dynamic_batch_size.
      soc_version: chip that the script compiles for by default.
    """
    dynamic = len(batch_sizes) > 1
    shapes = ["%s:%s" % (t.name, ",".join(str(-1 if n is None else n) for n in t.shape))
              for t in expected.inputs]
    more = ['--dynamic_batch_size="%s"' % ",".join(map(str, batch_sizes))] if dynamic else []
    # The softmax of a large catalogue has values below the smallest float16: their order would be
    # lost.
    softmax = [t.name for t in expected.outputs if t.role == signature.SCORES]
    if softmax:
        more.append("--keep_dtype=" + KEEP)
        with open(os.path.join(folder, KEEP), "w", encoding="ascii") as out:
            out.write("".join(node + "\n" for node in softmax))
    path = os.path.join(folder, "atc.sh")
    with open(path, "w", encoding="ascii") as out:
        out.write(SCRIPT.format(name=name, soc_version=soc_version, input_shape=";".join(shapes),
                                out_nodes=";".join("%s:0" % t.name for t in expected.outputs),
                                more="".join("    %s \\\n" % line for line in more)))
    os.chmod(path, 0o755)
