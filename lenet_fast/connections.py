"""Connection tables: which input maps each output map of a convolution reads.

Examples
--------
Table I of LeCun et al. 1998: a row for each map of S2, a column for each of C3.

>>> from lenet_fast import connections
>>> for row in connections.LENET5_C3.T:
...     print("".join("X" if link else "-" for link in row))
X---XXX--XXXX-XX
XX---XXX--XXXX-X
XXX---XXX--X-XXX
-XXX--XXXX--X-XX
--XXX--XXXX-XX-X
---XXX--XXXX-XXX
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lenet_fast import checks

__all__ = ["LENET1_H3", "LENET4_C3", "LENET5_C3", "LENET1989_H2", "full"]

Table = npt.NDArray[np.bool_]


def _table(links: list[str], c_in: int) -> Table:
    """Return the table whose row o has True at the input maps in the o-th string, in base 16."""
    table = np.zeros((len(links), c_in), np.bool_)
    for o, maps in enumerate(links):
        table[o, [int(c, 16) for c in maps]] = True
    table.setflags(write=False)
    return table


LENET5_C3 = _table(
    [
        *("012", "123", "234", "345", "045", "015"),
        *("0123", "1234", "2345", "0345", "0145", "0125"),
        *("0134", "1245", "0235"),
        "012345",
    ],
    c_in=6,
)
"""LeNet-5, from the 6 maps of S2 to the 16 of C3: 60 links (LeCun et al. 1998, table I)."""

LENET1_H3 = _table(["0", "01", "01", "1", "01", "01", "2", "23", "23", "3", "23", "23"], c_in=4)
"""LeNet-1, from the 4 maps of H2 to the 12 of H3: 20 links (LeCun et al. 1990)."""


LENET4_C3 = _table(
    [
        *("013", "124", "235", "346", "457", "056", "167", "027"),
        *("014", "125", "236", "347", "045", "156", "267", "07"),
    ],
    c_in=8,
)
"""LeNet-4, from the 8 maps of S2 to the 16 of C3: 47 links. The choice is ours.

LeCun et al. 1998 give no table; with 47 links the network has 259,806 connections, the closest
possible number to the published 260,000. With the 8 maps in a ring, map o of C3 reads o, o + 1 and
o + 3, and map 8 + o reads o, o + 1 and o + 4, except that the last map lacks its last link. So any
two maps of S2 meet in one or two maps of C3, and every map of S2 feeds six, map 3 five. The two
maps that sub-sample the same map of C1 are neighbours (0 and 1, 2 and 3, and so on): half of the
maps of C3 read such a pair, the others read three maps of C1."""

LENET1989_H2 = _table([*["01234567"] * 4, *["456789ab"] * 4, *["012389ab"] * 4], c_in=12)
"""The network of 1989, from the 12 maps of H1 to the 12 of H2, each of which reads 8: 96 links.

LeCun et al. 1989 do not say which 8; these are A. Karpathy's (karpathy/lecun1989-repro). Every map
of H1 feeds 8 of H2."""


def full(c_out: int, c_in: int) -> Table:
    """Return the table in which every output map reads every input map.

    Parameters
    ----------
    c_out, c_in : int
        Output and input maps.

    Returns
    -------
    bool ndarray (c_out, c_in)

    Examples
    --------
    LeNet-5 has 60 of 96 possible links from S2 to C3. Its map 0 reads three neighbours:

    >>> from lenet_fast import connections
    >>> table = connections.LENET5_C3
    >>> int(table.sum()), int(connections.full(16, 6).sum()), table[0].nonzero()[0].tolist()
    (60, 96, [0, 1, 2])
    """
    return np.ones((c_out, c_in), np.bool_)


def checked(name: str, value: object, expected: tuple[int, int]) -> Table:
    """Return a connection table as a new bool array (output maps, input maps per group).

    Raise TypeError unless it is a bool array or, as in model files, a list of lists of 0, 1, False
    and True, and ValueError if its shape is not the expected one, or an output map has no links.

    Examples
    --------
    >>> from lenet_fast import connections
    >>> connections.checked("connections", [[1, 0], [1, 1]], (2, 2))
    array([[ True, False],
           [ True,  True]])
    >>> connections.checked("connections", [[1, 0], [0, 0]], (2, 2))
    Traceback (most recent call last):
    ValueError: connections: expected at least one link per output map, got none for map 1
    """
    if isinstance(value, (list, tuple)):
        value = _from_lists(name, value, expected)
    table = checks.table(name, value, expected).astype(np.bool_)
    if not table.any(axis=1).all():
        lonely = int(np.flatnonzero(~table.any(axis=1))[0])
        raise ValueError(
            f"{name}: expected at least one link per output map, got none for map {lonely}"
        )
    return table


def _from_lists(
    name: str, value: list[object] | tuple[object, ...], expected: tuple[int, int]
) -> Table:
    c_out, c_in = expected
    if len(value) != c_out:
        raise ValueError(f"{name}: expected {c_out} rows, one per output map, got {len(value)}")
    for row in value:
        if not isinstance(row, (list, tuple)):
            raise TypeError(f"{name}: expected lists as rows, got {checks.kind(row)}")
        if len(row) != c_in:
            raise ValueError(f"{name}: expected {c_in} entries in each row, got {len(row)}")
        for entry in row:
            # Refuse 1.0 and "1", which are equal to or look like 1: our files never hold them.
            if type(entry) not in (int, bool) or entry not in (0, 1):
                raise ValueError(f"{name}: expected entries 0 or 1, got {checks.kind(entry)}")
    return np.array(value, np.bool_)
