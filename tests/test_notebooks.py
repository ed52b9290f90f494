"""What a notebook shows: in a kernel of its own, through the messages that every front end gets."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

jupyter = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")


class Ran(NamedTuple):
    """What a cell gave: its outputs, as they are in the end; all pages; and the reply."""

    outputs: list[dict[str, Any]]  # by mime type; "stream" for text printed
    pages: list[str]  # every HTML that was shown, replaced or not
    error: str  # the name of the exception, or ""
    text: str  # of the exception


class Kernel:
    """A kernel that runs cells."""

    def __init__(self) -> None:
        self.manager, self.client = jupyter.start_new_kernel()

    def run(self, code: str, *, interrupt: str | None = None) -> Ran:
        """Run a cell; interrupt it once, when a page has these words."""
        outputs: dict[str, dict[str, Any]] = {}
        pages: list[str] = []
        sent = self.client.execute(code)
        end = time.monotonic() + 60
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, end - time.monotonic()))
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != sent:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in ("display_data", "update_display_data", "execute_result"):
                name = content.get("transient", {}).get("display_id") or f"{kind} {len(outputs)}"
                assert kind != "update_display_data" or name in outputs
                outputs[name] = content["data"]
                pages.append(content["data"].get("text/html", ""))
                if interrupt is not None and interrupt in pages[-1]:
                    self.manager.interrupt_kernel()
                    interrupt = None
            elif kind == "stream":
                outputs.setdefault(content["name"], {"stream": ""})["stream"] += content["text"]
        replies = iter(lambda: self.client.get_shell_msg(timeout=10), None)
        reply = next(each for each in replies if each["parent_header"]["msg_id"] == sent)["content"]
        assert interrupt is None, pages
        return Ran([*outputs.values()], pages, reply.get("ename", ""), reply.get("evalue", ""))

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    try:
        ran = kernel.run(
            "import lenet_fast as lf\n"
            "from lenet_fast.training import EpochTable, ProgressBar, Trainer\n"
            "sample = lf.data.load('sample')\n"
            "train, test = sample.train.subset(640), sample.test.subset(100)\n"
            "def trainer(**options):\n"
            "    return Trainer(lf.models.lenet5(output='softmax'), threads=1, **options)\n"
        )
        assert ran == Ran([], [], "", "")
        yield kernel
    finally:
        kernel.close()


def words(page: str) -> str:
    """Return the text of HTML."""
    return " ".join(re.sub("<[^>]*>", " ", page).replace("&nbsp;", " ").split())


def test_fit_shows_a_table_and_a_bar_in_two_outputs(kernel: Kernel) -> None:
    ran = kernel.run("history = trainer().fit(train, test, epochs=3)")
    table, bar = ran.outputs
    assert words(table["text/html"]).startswith(
        "epoch rate train loss train error train wrong test"
    )
    assert table["text/html"].count("<tr>") == 4
    assert table["text/plain"].count("\n") == 4
    assert re.fullmatch(r"3 epochs, after [\d.]+ s", words(bar["text/html"]))
    moving = [words(page) for page in ran.pages if "<progress" in page]
    line = r"epoch [123]/3 \d+ % loss \d\.\d{4} \d+\.\d\d % wrong [\d,]+ images/s [\d.]+ s left"
    assert moving
    assert all(re.fullmatch(line, each) for each in moving), moving


@pytest.mark.parametrize(
    ("options", "verbose", "shown"),
    [
        ("callbacks=[ProgressBar()]", "'auto'", ["epochs, after"]),
        ("callbacks=[EpochTable()]", "True", ["train loss"]),
        ("", "False", []),
        ("", "True", ["train loss", "epochs, after"]),
    ],
)
def test_a_callback_of_ones_own_replaces_the_usual_ones(
    kernel: Kernel, options: str, verbose: str, shown: list[str]
) -> None:
    ran = kernel.run(f"_ = trainer({options}).fit(train, test, epochs=2, verbose={verbose})")
    assert len(ran.outputs) == len(shown)
    for output, part in zip(ran.outputs, shown, strict=True):
        assert part in words(output["text/html"])


FIGURE = "fig = lf.plots.bitmaps(); fig"


def test_figures_show_without_magic_and_once_with_it(kernel: Kernel) -> None:
    pytest.importorskip("matplotlib_inline")
    for before in ("", "import matplotlib.pyplot\n", "%matplotlib inline\n"):
        ran = kernel.run(before + FIGURE)
        assert [set(output) for output in ran.outputs] == [{"text/plain", "image/png"}]
        assert base64.b64decode(ran.outputs[0]["image/png"]).startswith(b"\x89PNG")
    (shown,) = kernel.run("fig.show()").outputs
    assert "image/png" in shown
    (both,) = kernel.run("%config InlineBackend.figure_formats = ['svg']\n" + FIGURE).outputs
    assert "image/svg+xml" in both  # one output, of which a page shows the best
    assert kernel.run("import pickle; pickle.loads(pickle.dumps(fig))").error == ""


@pytest.mark.parametrize(
    ("code", "starts", "contains"),
    [
        ("lf.models.lenet1()", "Network with linear outputs, in float32 layer kind", "<table>"),
        ("sample.test", "sample-test: 1,000 images of 28 x 28 labels 4 0 6 2", "image/png;base64"),
        ("sample", "sample-train: 5,000 images", "the bundled sample of MNIST"),
        ("done.history", "3 epochs; best: epoch", "<polyline"),
        ("done", "Trainer network &lt;13 layers, 60,850 parameters", "<polyline"),
        ("trainer()", "Trainer network &lt;13 layers, 60,850 parameters", "&lt;0 epochs&gt;"),
        ("done.evaluate(test)", "", " of 100 images wrong, accuracy "),
    ],
)
def test_what_objects_show(kernel: Kernel, code: str, starts: str, contains: str) -> None:
    kernel.run("done = trainer()\n_ = done.fit(train, test, epochs=3)")
    (shown,) = kernel.run(code).outputs
    assert words(shown["text/html"]).startswith(starts)
    assert contains in shown["text/html"]
    assert "0x" not in shown["text/plain"]
    closed = re.sub("(<br|<img[^>]*)>", r"\1/>", shown["text/html"])
    assert ElementTree.fromstring(closed).tag == "div"  # every tag is closed


def test_a_backend_chosen_in_a_cell_holds_in_the_next(kernel: Kernel) -> None:
    (before,) = kernel.run("lf.backends.current()").outputs
    assert kernel.run("lf.use_backend('numpy')").error == ""
    (after,) = kernel.run("lf.backends.current(), trainer().engine.backend").outputs
    assert after["text/plain"] == "('numpy', 'numpy')"
    kernel.run("from concurrent.futures import ThreadPoolExecutor")
    kernel.run(f"lf.use_backend({before['text/plain']})")  # Out keeps it
    there = kernel.run("ThreadPoolExecutor(1).submit(lf.backends.current).result()").outputs
    assert there[0]["text/plain"] == before["text/plain"]
    ran = kernel.run("lf.use_backend('cuda')")
    assert ran.error == "ValueError"
    assert ran.text == "backend: expected one of cython, numba, numpy, got 'cuda'"


def test_the_stop_button_saves_and_raises_so_that_run_all_stops(
    kernel: Kernel, tmp_path: Any
) -> None:
    kernel.run(f"stopped = trainer(out={str(tmp_path / 'run')!r}, backend='numpy')")
    ran = kernel.run("stopped.fit(sample.train, test, epochs=50)", interrupt="<progress")
    assert ran.error == "TrainingInterrupted"
    assert re.fullmatch(r"stopped in epoch 1 of 50, and .*run has its state; .*", ran.text)
    assert words(ran.outputs[1]["text/html"]).startswith("stopped in epoch 1 of 50, after")
    after = kernel.run(
        "again = Trainer.resume(stopped._out)\n"
        "same = all((again.network.parameters[name] == array).all()\n"
        "           for name, array in stopped.network.parameters.items())\n"
        "(same, stopped.history.interrupted, again._position.batch > 0)"
    )
    assert after.outputs[0]["text/plain"] == "(True, True, True)"
    assert not list((tmp_path / "run").glob("*.tmp"))
