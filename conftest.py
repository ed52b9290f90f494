"""What pytest leaves out: the front end of a library that is not installed has no doctests then."""

from __future__ import annotations

import importlib.util
import os

collect_ignore_glob = []
if os.environ.get("LENET_FAST_REQUIRE_ALL") != "1" and importlib.util.find_spec("torch") is None:
    collect_ignore_glob.append("lenet_fast/torch/*")
