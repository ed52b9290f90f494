"""Build the Cython backend: one extension for each instruction set, from the same kernels.

pyproject.toml describes the package. Switches, all environment variables:

LENET_FAST_DEBUG=1           bounds-checked extensions with assertions, for finding faults
LENET_FAST_REQUIRE_CYTHON=1  fail where the extensions do not compile, instead of leaving them out
LENET_FAST_BUILD_ISA         comma-separated instruction sets to build, all by default
"""

import multiprocessing
import os
import platform
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORES = os.cpu_count() or 1
PACKAGE = "lenet_fast.backends.cython_backend"
KERNELS = Path("kernels")
DECLARATIONS = KERNELS / "vector"  # of what the kernels' files cimport

X86_FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        *("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"),
        "-mprefer-vector-width=512",
    ],
}

debug = os.environ.get("LENET_FAST_DEBUG", "0") not in ("", "0")
required = os.environ.get("LENET_FAST_REQUIRE_CYTHON", "0") not in ("", "0")

GENERATED = Path("build", "kernels-debug" if debug else "kernels")
LAST_BUILD = Path("build", "kernels.txt")

# None of these flags changes results: they say that no code reads errno or the exception flags, and
# that GCC must not carry pixels from one position to the next, for which no register is left.
C_FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-fno-predictive-commoning"]
if debug:
    C_FLAGS = ["-O1", "-g", "-UNDEBUG"]
# Cython's `inline` is only a hint. The kernels' register blocks need it to be followed, so that
# their sizes become literals, and their sums registers.
MACROS: list[tuple[str, str | None]] = [
    ("CYTHON_INLINE", "inline __attribute__((always_inline, unused))")
]
if debug:
    MACROS = [("LENET_FAST_DEBUG", None)]
else:
    MACROS.append(("CYTHON_WITHOUT_ASSERTIONS", None))

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": debug,
    "wraparound": False,
    "initializedcheck": debug,
    "nonecheck": debug,
    "cdivision": True,
    "embedsignature": False,
    "binding": True,
}


def instruction_sets() -> dict[str, list[str]]:
    """Return the compiler flags of each instruction set to build here."""
    # The platform tag, not the machine: 32-bit Python on a 64-bit machine, or a cross build.
    target = sysconfig.get_platform()
    if target.endswith(("x86_64", "amd64")) and platform.system() != "Windows":
        flags = X86_FLAGS
    else:
        flags = {"baseline": []}
    wanted = os.environ.get("LENET_FAST_BUILD_ISA")
    if not wanted:
        return flags
    names = [name.strip() for name in wanted.split(",")]
    unknown = sorted(set(names) - set(flags))
    if unknown:
        raise SystemExit(
            f"LENET_FAST_BUILD_ISA: expected some of {', '.join(flags)}, got {', '.join(unknown)}"
        )
    return {name: flags[name] for name in flags if name in names or name == "baseline"}


def write(path: Path, text: str) -> None:
    """Write a file unless it holds the text already: its time says when it last changed."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def extensions() -> list[Extension]:
    """Return one extension for each instruction set, each from a copy of kernels/module.pyx.

    Objects are placed by the path of their source, so each build needs its own.
    """
    GENERATED.mkdir(parents=True, exist_ok=True)
    # A library counts as made when it is newer than this file, which changes with the switches.
    write(LAST_BUILD, f"{C_FLAGS} {MACROS}\n")
    modules = []
    depends = [str(LAST_BUILD), *sorted(str(path) for path in KERNELS.rglob("*.*"))]
    for name, flags in instruction_sets().items():
        source = GENERATED / f"_{name}.pyx"
        write(source, (KERNELS / "module.pyx").read_text())
        modules.append(
            Extension(
                f"{PACKAGE}._{name}",
                [str(source)],
                include_dirs=[str(DECLARATIONS)],
                define_macros=MACROS,
                depends=depends,
                extra_compile_args=C_FLAGS + flags,
            )
        )
    built = cythonize(
        modules,
        include_path=[str(KERNELS), str(DECLARATIONS)],
        compiler_directives=DIRECTIVES,
        # Other ways to start a process would run the file again that has started this one.
        nthreads=CORES if multiprocessing.get_start_method() == "fork" else 0,
    )
    for module in built:  # cythonize makes new Extensions and drops this flag
        module.optional = not required
    return built


setup(ext_modules=extensions(), options={"build_ext": {"parallel": CORES}})
