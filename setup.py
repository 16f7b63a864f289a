"""Installation: the base has no TensorFlow (device images bring their own); the extra `cpu` adds one."""

import os
import re

from setuptools import find_packages, setup

ROOT = os.path.dirname(os.path.abspath(__file__))


def read(*parts):
    """Text of a file of this checkout; empty if it is absent."""
    path = os.path.join(ROOT, *parts)
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


# tensorflow-cpu is spared the CUDA libraries and has wheels for Linux x86_64; elsewhere the package is tensorflow.
_NEW = "python_version >= '3.8'"
_LINUX_X86 = "sys_platform == 'linux' and platform_machine == 'x86_64'"
_ELSEWHERE = "(sys_platform != 'linux' or platform_machine != 'x86_64')"
# The server; on older Pythons its command says so.
_SERVE = [name + "; python_version >= '3.9'" for name in ("fastapi>=0.100", "uvicorn>=0.23", "httptools", "orjson",
                                                          "prometheus-client")]
# 1.2.2 is the last DuckDB with wheels for Python 3.7 and 3.8; a newer one compiles from source for many minutes.
_DUCKDB = ["duckdb>=1.2,<1.3; python_version < '3.9'", "duckdb>=1.2; python_version >= '3.9'"]
_SERVE.append("uvloop; python_version >= '3.9' and sys_platform != 'win32'")

setup(
    name="gru4rec",
    version=re.search(r'^__version__ = "(.+)"$', read("gru4rec", "__init__.py"), re.MULTILINE).group(1),
    description="GRU4Rec for TensorFlow 1.15 and 2 on CPU, GPU and Ascend NPU",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    author="the gru4rec authors",
    license="Apache-2.0",
    packages=find_packages(include=["gru4rec", "gru4rec.*"]),
    package_data={"gru4rec": ["*.json", "*/*.json", "*/*.html"]},
    python_requires=">=3.7",
    install_requires=["numpy", "pandas"],
    extras_require={
        "cpu": [
            "tqdm",  # the progress bar; a device image without it trains without the bar
            "protobuf<3.21; python_version == '3.7'",  # before TensorFlow: pip < 20.3 keeps the first it meets
            "tensorflow==1.15.*; python_version == '3.7'",
            "tensorflow-cpu>=2.6; %s and %s" % (_NEW, _LINUX_X86),
            "tensorflow>=2.6; %s and %s" % (_NEW, _ELSEWHERE),
        ],
        "parquet": ["pyarrow"],
        "prepare": _DUCKDB,
        # gru4rec.export --format onnx, and what runs its files; for Python 3.7 it wants a newer numpy than TensorFlow 1.15.
        "onnx": ["onnx", "onnxruntime; python_version >= '3.9'"],
        "search": ["optuna"],
        "plots": ["matplotlib"],  # benchmarks/plot_train.py
        "serve": _SERVE,
        "test": _SERVE + _DUCKDB + ["pytest", "pytest-xdist", "hypothesis", "pyarrow", "tqdm", "optuna",
                                    "onnx; python_version >= '3.9'", "onnxruntime; python_version >= '3.9'"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
    ],
)
