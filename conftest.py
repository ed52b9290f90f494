"""Skip the doctests of front ends whose library is not installed."""

from __future__ import annotations

import importlib.util
import os

collect_ignore_glob = []
if os.environ.get("LENET_FAST_REQUIRE_ALL") != "1" and importlib.util.find_spec("torch") is None:
    collect_ignore_glob.append("lenet_fast/torch/*")
