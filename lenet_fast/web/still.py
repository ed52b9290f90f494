"""The page in one file, without a server: the network, test images and all modules in one HTML."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenet_fast import __version__, checks
from lenet_fast.data import Dataset
from lenet_fast.data.arrays import look_inverted
from lenet_fast.web import snapshots
from lenet_fast.web.snapshots import NetworkSnapshot

MARK = '<meta name="generator" content="lenet_fast page">'
"""What tells such a file from others."""

_MNIST = "Yann LeCun, Corinna Cortes, Christopher J. C. Burges, CC BY-SA 3.0"
CREDITS = {
    "mnist": f"MNIST: {_MNIST}",
    "sample": f"MNIST (excerpt): {_MNIST}",
    "fashion-mnist": "Fashion-MNIST: Zalando SE, MIT",
    "kmnist": "KMNIST: CODH, adapted from the Kuzushiji Dataset of NIJL and others, CC BY-SA 4.0",
    "qmnist": "QMNIST: Chhavi Yadav, L\N{LATIN SMALL LETTER E WITH ACUTE}on Bottou, BSD",
    "digits": "Digits: Ethem Alpaydin, Cenk Kaynak, CC BY 4.0",
}
"""Who made the images of a data set, and under which licence; by its name."""

_STATIC = Path(__file__).with_name("static")
_IMPORT = re.compile(r'(from |import |import\()"\./([\w.]+\.js)"')
_STYLE = re.compile(r'<link rel="stylesheet" href="/static/([\w.]+)"(?: media="print")?>')
_PRELOAD = re.compile(r'\n *<link rel="(?:module)?preload" [^>]+>')
_SERVED = ("learn.js",)
"""Modules that only a page with a server imports."""
_ICON = re.compile(r'href="/static/([\w.]+\.svg)"')
_MAIN = '<script type="module" src="/static/main.js"></script>'


def page(snapshot: NetworkSnapshot, test: Dataset, count: int) -> bytes:
    """Return the page as HTML, with the first `count` test images and what is read in them.

    It needs no other file, and a content security policy forbids it to load any. The same
    arguments give the same bytes.

    Browsers refuse modules in files beside a page that was opened without a server. So the modules
    are in an import map, as data: addresses.
    """
    test = replace(test, images=test.images[:count], labels=test.labels[:count])
    html = (_STATIC / "index.html").read_text("utf-8")
    style = "".join(_read(name) for name in _STYLE.findall(html))
    first = _STYLE.search(html)
    assert first is not None
    html = html.replace(first[0], "<!-- style -->", 1)
    html = _STYLE.sub("", html).replace("<!-- style -->", f"<style>{style}</style>")
    html = _PRELOAD.sub("", html)
    html = _ICON.sub(lambda found: f'href="{_address("image/svg+xml", _read(found[1]))}"', html)
    modules = json.dumps({"imports": _modules("main.js")}, indent=0)
    start = 'import "page/main.js";'
    data = json.dumps(_data(snapshot, test), sort_keys=True, separators=(",", ":"))
    data = data.replace("<", "\\u003c")  # a class may be called </script>
    scripts = (
        f'<script type="importmap">{modules}</script>\n'
        f'  <script type="application/json" id="still">{data}</script>\n'
        f'  <script type="module">{start}</script>'
    )
    policy = (
        f"default-src 'none'; script-src {_hash(modules)} {_hash(start)} data:; "
        f"style-src {_hash(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    head = f'{MARK}\n  <meta http-equiv="Content-Security-Policy" content="{policy}">'
    html = html.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n  {head}', 1)
    return html.replace(_MAIN, scripts, 1).encode()


def _data(snapshot: NetworkSnapshot, test: Dataset) -> dict[str, Any]:
    """Return what ``still.js`` reads."""
    return {
        "about": {
            "version": __version__,
            "notice": "",
            "test_images": len(test),
            "digits": test.classes == checks.DIGITS,
            "inverted": look_inverted(test.images),
            "credit": CREDITS.get(test.name.removesuffix("-test"), ""),
        },
        "network": snapshot.describe(),
        "images": snapshots.images_json(test, [*range(len(test))]),
        "predictions": {"number": snapshot.number, **snapshot.predictions(test).to_json(test)},
    }


def _modules(name: str) -> dict[str, str]:
    """Return a module and those that it imports, as addresses by bare names: relative ones mean
    nothing in a data: address."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if f"page/{name}" not in found:
            text = _read(name)
            imported = {module for _, module in _IMPORT.findall(text)}
            waiting += imported.difference(_SERVED)
            code = _IMPORT.sub(r'\1"page/\2"', text)
            found[f"page/{name}"] = _address("text/javascript", code)
    return dict(sorted(found.items()))


def _read(name: str) -> str:
    return (_STATIC / name).read_text("utf-8")


def _address(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
