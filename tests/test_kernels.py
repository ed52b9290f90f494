"""The sources of the compiled kernels: one namespace, whose parts say what they take from others.

kernels/module.pyx includes all files, in order. So the names of one file are there in all others,
declared or not. These tests read the sources, and hold each file to what it declares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from lenet_fast import backends

KERNELS = Path(__file__).parents[1] / "kernels"

Names = set[str]

if not KERNELS.is_dir():
    pytest.skip("the kernels' sources are in the checkout only", allow_module_level=True)


def included() -> list[str]:
    """Return what kernels/module.pyx includes, in order: "layers/conv2d", ..."""
    text = (KERNELS / "module.pyx").read_text(encoding="utf-8")
    return re.findall(r'^include "(\S+)\.pxi"$', text, re.MULTILINE)


SOURCES = {name: (KERNELS / f"{name}.pxi").read_text(encoding="utf-8") for name in included()}
DECLARED = {  # what is cimported, by the name of the declaration file
    path.stem: path.read_text(encoding="utf-8") for path in sorted(KERNELS.rglob("*.pxd"))
}

# --- reading Cython  ---

WORD = re.compile(r"(?<![.\w])[A-Za-z_]\w*")
CIMPORT = re.compile(r"^from ([\w.]+) cimport (?:\(([^)]*)\)|([^\n]*))", re.MULTILINE)


def bare(source: str) -> str:
    """Return a source without strings and comments."""
    return re.sub(r'"""[\s\S]*?"""|"[^"\n]*"|\'[^\'\n]*\'|#[^\n]*', " ", source)


def statements(source: str) -> list[str]:
    """Return the statements that begin at the left edge, each with what is indented below it."""
    return re.findall(r"^[A-Za-z][^\n]*(?:\n(?:[ \t)\]][^\n]*)?)*", bare(source), re.MULTILINE)


def listed(text: str) -> Iterator[str]:
    """Yield the parts of a list, cut at the commas that no bracket holds."""
    depth, part = 0, ""
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            yield part
            part = ""
        else:
            part += character
    yield part


def last_word(text: str) -> Names:
    """Return the name that a declaration such as ``const real *x = NULL`` gives, if any."""
    words = WORD.findall(re.sub(r"\[[^\]]*\]", " ", text.split("=")[0]))
    return set(words[-1:])


@cache
def defined(source: str) -> Names:
    """Return the names that a source gives to all files."""
    found: Names = set()
    for statement in statements(source):
        head, _, body = statement.partition("\n")
        inner = re.sub(r"^    ", "", body, flags=re.MULTILINE)
        if re.match(r"(from|import|include)\b", head):
            continue
        if re.match(r"cdef extern\b", head):
            found |= defined(
                re.sub(r"^(?=\w)(?!ctypedef|cdef)", "cdef ", inner, flags=re.MULTILINE)
            )
            continue
        found |= own_name(statement)
        if re.match(r"(cdef|ctypedef) enum\b", head):
            found |= {word for line in inner.splitlines() for word in last_word(line)}
    return found


def own_name(statement: str) -> Names:
    """Return the name that one statement defines."""
    kind = re.match(r"(?:cdef|ctypedef) (?:struct|enum|class|fused) ?(\w*)", statement)
    if kind:
        return {kind[1]} - {""}
    before = statement.split("(")[0]
    return last_word(before) if re.match(r"(def|cdef|ctypedef|class)\b", statement) else set()


def parameters(statement: str) -> Names:
    """Return the parameters of all functions in a statement."""
    found: Names = set()
    for begin in re.finditer(r"^ *(?:cdef|def) [^=\n(]*\(", statement, re.MULTILINE):
        depth, end = 1, begin.end()
        while depth:
            depth += (statement[end] == "(") - (statement[end] == ")")
            end += 1
        for part in listed(statement[begin.end() : end - 1]):
            found |= last_word(part)
    return found


def local_names(statement: str) -> Names:
    """Return the names that mean something of the statement's own: parameters, variables, fields,
    and the keywords of calls."""
    found = parameters(statement)
    record = re.match(r"(cdef|ctypedef) struct\b", statement)
    for line in re.findall(r"^ +([^\n]*)", statement, re.MULTILINE):
        if record:
            found |= last_word(line)
        elif line.startswith("cdef ") and "(" not in line.split("=")[0]:
            first, *others = listed(line.removeprefix("cdef "))
            found |= last_word(first).union(*map(last_word, others))
    return found | set(re.findall(r"(?<![.\w])(\w+) ?=(?!=)", statement.partition("\n")[2]))


@cache
def used(source: str) -> Names:
    """Return the names that a source uses, those of its own statements left out."""
    found: Names = set()
    for statement in statements(source):
        if not re.match(r"(from|import|include)\b", statement):
            found |= set(WORD.findall(statement)) - local_names(statement)
    return found - defined(source)


# --- what a file takes from others  ---


def taken(name: str, sources: Mapping[str, str]) -> dict[str, Names]:
    """Return what an included file uses, by the file that it is from."""
    names = used(sources[name])
    from_each = {other: names & defined(text) for other, text in sources.items() if other != name}
    return {other: each for other, each in from_each.items() if each}


def declared(source: str) -> dict[str, Names]:
    """Return what the ``# needs:`` lines say, in the form of :func:`taken`."""
    begin = re.match(r"# needs: ((?:[^\n]*,\n#  +)*[^\n]*)\n", source)
    assert begin, f"expected the first line to say '# needs: ...', got {source[:60]!r}"
    text = re.sub(r"\n#  +", " ", begin[1])
    if text == "nothing":
        return {}
    assert re.fullmatch(r"(\S+ \([\w, ]+\)(, |$))+", text), text
    return {
        file: set(names.split(", ")) for file, names in re.findall(r"(\S+) \(([\w, ]+)\)", text)
    }


def wrong_needs(sources: Mapping[str, str]) -> list[str]:
    """Return where the ``# needs:`` lines and the names used are not the same, and needs that are
    not met in the order of the sources."""
    wrong, before = [], set()
    for name, source in sources.items():
        says, does = declared(source), taken(name, sources)
        if says != does:
            wrong.append(f"{name}: declares {says}, uses {does}")
        wrong += [f"{name}: needs {other}, which comes later" for other in says.keys() - before]
        before.add(name)
    return wrong


def cimported(source: str) -> Names:
    return {
        word for _, one, other in CIMPORT.findall(source) for word in WORD.findall(one or other)
    }


def wrong_cimports(sources: Mapping[str, str]) -> list[str]:
    """Return where a file cimports what it does not use, or uses what only others cimport."""
    known = set().union(*map(cimported, [*sources.values(), *DECLARED.values()]))
    known |= set().union(*map(defined, DECLARED.values()))
    wrong = []
    for name, source in sources.items():
        says, does = cimported(source), used(source) & known
        if says != does:
            wrong.append(f"{name}: not cimported {does - says}, not used {says - does}")
    return wrong


def test_every_file_is_part_of_the_module():
    files = {
        path.relative_to(KERNELS).with_suffix("").as_posix() for path in KERNELS.rglob("*.pxi")
    }
    assert len(files) > 20
    assert set(SOURCES) == files
    assert sorted(path.name for path in KERNELS.rglob("*.pyx")) == ["cpu.pyx", "module.pyx"]


def test_files_declare_what_they_need_and_nothing_else():
    assert sum(len(names) for name in SOURCES for names in taken(name, SOURCES).values()) > 100
    assert wrong_needs(SOURCES) == []


def test_no_name_is_defined_twice():
    names = [name for text in [*SOURCES.values(), *DECLARED.values()] for name in defined(text)]
    assert sorted(names) == sorted(set(names))


def test_files_cimport_what_they_use_and_nothing_else():
    assert wrong_cimports(SOURCES) == []


def test_numba_has_a_twin_of_every_file():
    """Its own are those that stand for kernels/vector/vectors.h, and for what C has by itself."""
    folder = Path(backends.__file__).parent / "numba_backend"
    twins = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.py")}
    own = {f"vector/{name}" for name in ("blocks", "packing", "products", "shared")}
    shared = {name for name in twins if not name.endswith("__init__")} - own
    theirs = {*SOURCES, "vector/vectors", "vector/shapes"}  # the last two are declarations
    assert shared == theirs - {"vector/gemm"}


LENDER = """# needs: nothing
cdef struct Pair:
    int one
cdef enum Kind:
    FIRST
    SECOND = 3
    THIRD
cdef double ZERO = 0
cdef inline void lend(const Pair *pair, lanes[4] made) noexcept nogil:
    pair.one = 1
"""
BORROWER = '''# needs: lender (FIRST, Pair,
#     ZERO, lend)
cdef void borrow(
    Pair *pair, double[:, ::1] x=None
) noexcept nogil:
    """SECOND is named here, and not used."""
    cdef Py_ssize_t k = FIRST, Kind
    lend(pair, <double> ZERO + pair.SECOND, SECOND=1)  # SECOND
'''


def test_the_judge_of_needs_sees_wrong_ones():
    sources = {"lender": LENDER, "borrower": BORROWER}
    assert defined(LENDER) == {"Pair", "Kind", "FIRST", "SECOND", "THIRD", "ZERO", "lend"}
    assert wrong_needs(sources) == []
    for before, after, complaint in (
        ("(FIRST, Pair,", "(FIRST,", "declares"),
        ("ZERO, lend)", "ZERO, lend, SECOND)", "declares"),
        ("ZERO, lend)", "ZERO, lend), other (x)", "later"),
        ("# needs: lender (FIRST, Pair,\n#     ZERO, lend)", "# needs: nothing", "declares"),
        ("= FIRST", "= FIRST + THIRD", "declares"),
        (", Kind\n", "\n    cdef Kind kind\n", "declares"),
    ):
        assert before in BORROWER
        planted = sources | {"borrower": BORROWER.replace(before, after)}
        assert any(complaint in each for each in wrong_needs(planted)), after
    assert "later" in wrong_needs({"borrower": BORROWER, "lender": LENDER})[0]
    with pytest.raises(AssertionError, match="needs"):
        declared("# Convolution.\n")


def test_the_judge_of_cimports_sees_wrong_ones():
    header = "from libc.string cimport memcpy\nfrom vectors cimport (\n    splat,\n)\n"
    body = "cdef void f(lanes *x) noexcept nogil:\n    memcpy(x, x, 1)\n    x[0] = splat(x, 1)\n"
    right = header.replace("splat,", "lanes, splat,") + body
    assert wrong_cimports({"f": right}) == []
    assert wrong_cimports({"f": header + body}) == ["f: not cimported {'lanes'}, not used set()"]
    assert "not used {'memcpy'}" in wrong_cimports({"f": right.replace("memcpy(x", "f(x")})[0]


# --- what a file may be  ---

CYTHON_IMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+c?import\b|c?import\s+([\w.]+))", re.MULTILINE
)
MAY_BE_CIMPORTED = {"libc.math", "libc.string", "cpython.buffer", *DECLARED}


def foreign(source: str) -> list[str]:
    """Return what a kernel imports and may not."""
    names = [first or second for first, second in CYTHON_IMPORT.findall(source)]
    return [name for name in names if name not in MAY_BE_CIMPORTED]


def files() -> list[Path]:
    return sorted(path for path in KERNELS.rglob("*") if path.is_file())


def test_a_kernel_imports_c_headers_and_declarations():
    assert len(files()) > 20
    for path in files():
        assert foreign(path.read_text(encoding="utf-8")) == [], path.name


def test_the_judge_of_kernels_sees_wrong_imports():
    for line in (
        "cimport numpy as cnp",
        "import numpy",
        "from cpython.list cimport PyList_New",
        "from conv2d cimport f",
        "  import os",
    ):
        assert foreign(f"# cython\n{line}\nx = 1\n"), line
    assert foreign("from libc.math cimport exp\nfrom vectors cimport real\n") == []


def test_kernels_take_their_directives_from_setup_alone():
    """A directive in a header line would blind the bounds-checked build."""
    for path in files():
        assert not re.search(r"^#\s*cython:", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_lines_have_at_most_100_characters():
    """The limit that Ruff holds Python files to."""
    for path in files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 100, f"{path.name}, line {number}"
