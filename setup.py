"""Build the Cython backend: one extension for each instruction set, from the same kernels.

pyproject.toml describes the package. Switches, all environment variables:

LENET_FAST_DEBUG=1           bounds-checked extensions with assertions, for finding faults
LENET_FAST_REQUIRE_CYTHON=1  fail where the extensions do not compile, instead of leaving them out
LENET_FAST_BUILD_ISA         instruction sets to build: "native" (the default: the best that this
                             machine runs), "all", or some of them, separated by commas
"""

import functools
import multiprocessing
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PACKAGE = "lenet_fast.backends.cython_backend"
KERNELS = Path("kernels")
DECLARATIONS = KERNELS / "vector"  # of what the kernels' files cimport

# What each instruction set consists of, slowest set first.
X86_PARTS = {
    "baseline": [],
    "avx2": ["avx2", "fma"],
    "avx512": ["avx512f", "avx512dq", "avx512bw", "avx512vl", "fma"],
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
    ("CYTHON_INLINE", "inline __attribute__((always_inline, unused))"),
    ("CYTHON_WITHOUT_ASSERTIONS", None),
]
if debug:
    MACROS = [("LENET_FAST_DEBUG", None)]
# One build serves every Python from 3.11 on, except those without the global lock, which have no
# stable ABI.
stable_abi = not sysconfig.get_config_var("Py_GIL_DISABLED")
if stable_abi:
    MACROS.append(("Py_LIMITED_API", "0x030B0000"))

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


@functools.cache
def compiler() -> list[str]:
    """Return the command that setuptools will compile with."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def answer(*arguments: str) -> str | None:
    """Return what the compiler prints for an empty program, or None if it fails or is missing."""
    command = [*compiler(), *arguments, "-x", "c", os.devnull]
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def native(names: list[str]) -> str:
    """Return the last of some instruction sets that this machine's processor has."""
    known = (answer("-march=native", "-dM", "-E", "-o", "-") or "").split()
    return [
        name for name in names if all(f"__{part.upper()}__" in known for part in X86_PARTS[name])
    ][-1]


def instruction_sets() -> dict[str, list[str]]:
    """Return the compiler flags of each instruction set to build here."""
    # The platform tag, not the machine: 32-bit Python on a 64-bit machine, or a cross build.
    target = sysconfig.get_platform()
    x86 = target.endswith(("x86_64", "amd64")) and platform.system() != "Windows"
    known = list(X86_PARTS) if x86 else ["baseline"]
    wanted = os.environ.get("LENET_FAST_BUILD_ISA") or "native"
    if wanted == "native":
        names = [native(known)]
    elif wanted == "all":
        names = known
    else:
        names = [name.strip() for name in wanted.split(",")]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(
            "LENET_FAST_BUILD_ISA: expected native, all, or some of "
            f"{', '.join(known)}, got {', '.join(unknown)}"
        )
    return {name: [f"-m{part}" for part in X86_PARTS[name]] for name in known if name in names}


def parts(flags: list[str]) -> tuple[list[str], list[str]]:
    """Return flags to compile and to link one extension in parts, one core for each.

    GCC compiles one file on one core, a minute for these. When it optimises as it links, it does so
    in parts; their number is fixed, so that the machine's cores change no instruction.
    """
    if debug or "__clang__" in (answer("-dM", "-E", "-o", "-") or "__clang__"):
        return [], []
    if answer("-flto", "-c", "-o", os.devnull) is None:
        return [], []
    return ["-flto"], [*C_FLAGS, *flags, f"-flto={CORES}", "--param", "lto-partitions=8"]


def write(path: Path, text: str) -> None:
    """Write a file unless it holds the text already: its time says when it last changed."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def extensions() -> list[Extension]:
    """Return one extension for each instruction set, each from a copy of kernels/module.pyx, and
    the one that says which of them the processor runs.

    Objects are placed by the path of their source, so each build needs its own.
    """
    GENERATED.mkdir(parents=True, exist_ok=True)
    # A library counts as made when it is newer than this file, which changes with the switches.
    write(LAST_BUILD, f"{C_FLAGS} {MACROS}\n")
    depends = [str(LAST_BUILD), *sorted(str(path) for path in KERNELS.rglob("*.*"))]

    def extension(name: str, source: str, flags: list[str], link: list[str]) -> Extension:
        copy = GENERATED / f"_{name}.pyx"
        write(copy, (KERNELS / source).read_text())
        return Extension(
            f"{PACKAGE}._{name}",
            [str(copy)],
            include_dirs=[str(DECLARATIONS)],
            define_macros=MACROS,
            depends=depends,
            extra_compile_args=C_FLAGS + flags,
            extra_link_args=link,
            py_limited_api=stable_abi,
        )

    modules = [extension("cpu", "cpu.pyx", [], [])]
    for name, flags in instruction_sets().items():
        if name == "avx512":
            flags = [*flags, "-mprefer-vector-width=512"]
        compile_in_parts, link_in_parts = parts(flags)
        modules.append(extension(name, "module.pyx", flags + compile_in_parts, link_in_parts))
    built = cythonize(
        modules,
        include_path=[str(KERNELS), str(DECLARATIONS)],
        compiler_directives=DIRECTIVES,
        # Other ways to start a process would run the file again that has started this one.
        nthreads=CORES if multiprocessing.get_start_method() == "fork" else 0,
    )
    for module in built:  # cythonize makes new Extensions and drops these
        module.optional = not required
        module.py_limited_api = stable_abi
    return built


class PackageAndLessons(build_py):
    """Put the lessons of the documentation into the package, for `lenet-fast notebook`."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # the command then finds them in docs
            folder = Path(self.build_lib, "lenet_fast", "lessons")
            folder.mkdir(exist_ok=True)
            for lesson in sorted(Path("docs", "lessons").glob("*.ipynb")):
                shutil.copy(lesson, folder)


class KernelsOfNow(build_ext):
    """Leave no library in the checkout that this build does not make: it may be outdated."""

    def run(self) -> None:
        made = {Path(self.get_ext_fullpath(module.name)).name for module in self.extensions}
        for library in Path(*PACKAGE.split(".")).glob("_*.so") if self.inplace else ():
            if library.name not in made:
                library.unlink()
        super().run()


setup(
    cmdclass={"build_ext": KernelsOfNow, "build_py": PackageAndLessons},
    ext_modules=extensions(),
    options={
        "build_ext": {"parallel": CORES},
        "bdist_wheel": {"py_limited_api": "cp311"} if stable_abi else {},
    },
)
