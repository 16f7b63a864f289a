"""Ranks counted in the graph against brute force, on weights whose scores are exact in float32."""

import os
import signal

import numpy as np
import pytest

