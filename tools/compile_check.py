"""Compile the kernels for platforms that are not at hand: objects only, nothing is linked or run.

python -m pip install ziglang cython setuptools   # Clang, with the C library of every target
python tools/compile_check.py [TARGET...]

Run it from the root of a clone. The C code is made for the stable ABI, so the headers of this
Python serve all targets; only its pyconfig.h, which has the sizes of types, is replaced. The exit
status is 1 if anything does not compile.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TARGETS = [
    "x86_64-linux-musl",
    "x86_64-macos",
    "x86_64-windows-gnu",
    "aarch64-linux-gnu",
    "aarch64-linux-musl",
    "aarch64-macos",
    "riscv64-linux-gnu",
    "wasm32-wasi",
]

PYCONFIG = """
#define SIZEOF_SHORT __SIZEOF_SHORT__
#define SIZEOF_INT __SIZEOF_INT__
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_LONG_LONG __SIZEOF_LONG_LONG__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define SIZEOF_TIME_T 8
#define ALIGNOF_LONG __SIZEOF_LONG__
#define ALIGNOF_SIZE_T __SIZEOF_SIZE_T__
#define ALIGNOF_MAX_ALIGN_T 16
#define HAVE_STDARG_PROTOTYPES 1
#if defined(_WIN32)
#define MS_WINDOWS 1
#define MS_WIN32 1
#endif
"""


def main(targets: list[str]) -> int:
    """Compile for some targets; return how many objects failed."""
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown:
        raise SystemExit(f"TARGET: expected some of {', '.join(TARGETS)}, got {', '.join(unknown)}")
    os.environ["LENET_FAST_BUILD_ISA"] = "all"
    sys.argv[1:] = ["--quiet", "--name"]  # asks setup.py for nothing but the C code
    build = runpy.run_path("setup.py")
    with tempfile.TemporaryDirectory() as name:
        include = Path(name, "include")
        shutil.copytree(sysconfig.get_path("include"), include)
        (include / "pyconfig.h").write_text(PYCONFIG)
        macros = dict(build["MACROS"])
        # Neither inlined nor optimised: it takes a tenth of the time to see whether it compiles.
        del macros["CYTHON_INLINE"]
        always = ["-c", "-O0", "-w", "-fno-sanitize=all", f"-I{include}", "-Ikernels/vector"]
        always += [
            f"-D{key}" if value is None else f"-D{key}={value}" for key, value in macros.items()
        ]

        def compile_one(target: str, isa: str, flags: list[str]) -> bool:
            source, made = build["GENERATED"] / f"_{isa}.c", Path(name, f"{target}-{isa}.o")
            command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *flags, *always]
            done = subprocess.run(
                [*command, str(source), "-o", str(made)], capture_output=True, text=True
            )
            good = done.returncode == 0 and made.stat().st_size > 0
            print(f"{target:20} {isa:10} {'compiles' if good else 'FAILS'}\n{done.stderr}".rstrip())
            return good

        jobs = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for target in targets or TARGETS:
                sets = build["X86_PARTS"] if target.startswith("x86_64") else {"baseline": []}
                for isa, parts in {"cpu": [], **sets}.items():
                    flags = [f"-m{part}" for part in parts]
                    jobs.append(pool.submit(compile_one, target, isa, flags))
        return sum(not job.result() for job in jobs)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
