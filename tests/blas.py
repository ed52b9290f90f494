"""How many threads NumPy's matrix products would use now."""

from __future__ import annotations

from helpers import missing


def numpy_blas_threads() -> int:
    """Return the number; other libraries of the process, such as SciPy's, do not count."""
    import threadpoolctl

    found = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]
    own = [info for info in found if "numpy" in info["filepath"]] or found
    if not own:
        missing("threadpoolctl knows no BLAS library in this process")
    return max(info["num_threads"] for info in own)
