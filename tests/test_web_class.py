"""The page's server for a class: its token, and each pupil's own state."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers import started
from page_cases import QUICK, Page, serving

from lenet_fast import data, models
from lenet_fast.web import pupils, server
from lenet_fast.web.manager import TrainingManager
from lenet_fast.web.pupils import Pupils
from lenet_fast.web.shared import BusyError

SAMPLE = data.load("sample")
TOKEN = "class-5b-2026"
REFUSED = (
    "token: expected the whole address that lenet-fast serve has printed, with ?token=, in a "
    "browser that accepts cookies"
)


class Visitor:
    """A browser with its cookies."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.cookies: dict[str, str] = {}

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={each}" for name, each in self.cookies.items())
        status, answer, found = self.page.ask(path, body, headers)
        for line in found.get_all("Set-Cookie", []):
            name, _, rest = line.partition("=")
            self.cookies[name] = rest.partition(";")[0]
            assert "HttpOnly" in line
            assert ("SameSite=Strict" if name.startswith("token_") else "SameSite=Lax") in line
        return status, answer

    def enter(self, token: str = TOKEN) -> int:
        return self.ask(f"/?token={token}")[0]

    def wait_for(self, state: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (run := self.ask("/api/training")[1]["run"])["state"] != state:
            assert time.monotonic() < deadline, run
            time.sleep(0.02)
        return run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Yield the page of a class, with a network that can read."""
    folder = tmp_path_factory.mktemp("saved") / "page"
    taught = TrainingManager(SAMPLE, folder, models.lenet5(), "a model")
    with serving(taught, token=TOKEN, pupils=20) as served:
        yield Page(taught, served.effective_port)


# --- the token  ---


def test_without_the_token_nothing_is_answered_but_the_pages_own_files(page: Page) -> None:
    assert page.ask("/")[0] == 200
    assert page.ask("/static/main.js")[0] == 200
    for path in ("/api/about", "/api/network", "/api/training", "/api/events", "/api/nothing"):
        status, answer, _ = page.ask(path)
        assert (status, answer) == (403, {"error": REFUSED, "key": "token", "values": {}})
    for path in ("/api/read", "/api/training", "/api/save", "/api/step"):
        assert page.ask(path, {})[0] == 403
    assert page.learning.current()["run"] is None


@pytest.mark.parametrize("token", ["", "class-5b-202", "class-5b-20266", "CLASS-5B-2026", "%C3%A4"])
def test_a_wrong_token_is_refused_and_gives_no_cookie(page: Page, token: str) -> None:
    visitor = Visitor(page)
    status, answer = visitor.ask(f"/?token={token}")
    assert (status, answer["error"], visitor.cookies) == (403, REFUSED, {})
    name = f"token_{page.port}"
    assert page.ask("/api/about", headers={"Cookie": f"{name}={token}"})[0] == 403
    assert page.ask("/api/about", headers={"Authorization": f"Bearer {token}"})[0] == 403
    # Where it does not belong, a right one does not count either.
    assert page.ask(f"/api/about?token={TOKEN}")[0] == 403
    assert page.ask("/api/about", headers={"Cookie": f"token_1={TOKEN}"})[0] == 403


def test_whoever_opens_a_wrong_address_reads_a_sentence(page: Page) -> None:
    browsers = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    for path in ("/?token=wrong", "/nothing"):
        status, text, headers = page.ask(path, headers=browsers)
        assert status == (403 if "token" in path else 404)
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert text.startswith(b"The page does not open at this address.\n\n")
        assert (REFUSED.encode() in text) == ("token" in path)
        assert "error" in page.ask(path, headers={"Accept": "*/*"})[1]


def test_the_token_goes_from_the_address_into_a_cookie(page: Page) -> None:
    visitor = Visitor(page)
    status, body, headers = page.ask(f"/?token={TOKEN}")
    assert (status, body, headers["Location"]) == (303, b"", "/")
    assert visitor.enter() == 303
    assert visitor.ask("/")[0] == 200
    assert visitor.ask("/api/about")[0] == 200
    assert visitor.ask("/api/read", {"digit": 1})[0] == 200


def test_other_programs_send_it_in_a_header(page: Page) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert page.ask("/api/read", {"digit": 1}, bearer)[0] == 200
    basic = {"Authorization": "Basic Y2xhc3MtNWItMjAyNjo="}
    assert page.ask("/api/read", {"digit": 1}, basic)[0] == 403


def test_with_the_token_another_site_is_still_refused(page: Page) -> None:
    visitor = Visitor(page)
    visitor.enter()
    for site in ("cross-site", "same-site"):
        assert visitor.ask("/api/about", **{"Sec-Fetch-Site": site})[0] == 403
    assert visitor.ask("/api/stop", {}, Origin="http://evil.example")[0] == 403
    assert visitor.ask("/", Host="evil.example")[0] == 403


@pytest.mark.parametrize("token", ["short", "a" * 65, "with space", "with;semicolon", "ä" * 8, ""])
def test_what_is_no_token(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    from lenet_fast import cli

    with pytest.raises(ValueError, match="8 to 64 letters"):
        pupils.checked_token(token)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", "--no-browser", "--token", token])
    assert "'--token': expected 8 to 64 letters" in capsys.readouterr().err


def test_tokens_are_random() -> None:
    tokens = {pupils.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(pupils.checked_token(token) == token for token in tokens)


# --- each pupil's own state  ---


def test_each_pupil_has_runs_and_a_network_of_their_own(page: Page) -> None:
    one, two = Visitor(page), Visitor(page)
    for each in (one, two):
        each.enter()
        assert each.ask("/api/training")[1]["runs"] == []
        assert each.ask("/api/network")[1]["name"] == "a model"
    assert one.ask("/api/training", QUICK | {"name": "mine"})[0] == 200
    number = one.wait_for("done")["number"]
    assert one.ask("/api/network")[1]["name"] == "mine"
    assert two.ask("/api/training")[1]["runs"] == page.learning.everything()["runs"] == []
    assert two.ask("/api/network")[1]["number"] == 0
    assert two.ask("/api/use", {"number": number})[0] == 400
    assert two.ask("/api/name", {"number": number, "name": "yours"})[0] == 400
    assert two.ask("/api/save", {})[0] == 409
    two.ask("/api/stop", {})
    assert one.ask("/api/use", {"number": 0})[1]["reading"] == 0
    again = Visitor(page)
    again.cookies = dict(one.cookies)  # another tab
    assert len(again.ask("/api/training")[1]["runs"]) == 1


def test_the_trainings_of_pupils_wait_for_one_another(page: Page) -> None:
    one, two = Visitor(page), Visitor(page)
    for each in (one, two):
        each.enter()
        each.ask("/")
        each.ask("/api/training", {"epochs": 100})
    assert two.wait_for("waiting")["before"] == 1
    assert one.ask("/api/pause", {})[0] == 200
    two.wait_for("running")
    assert one.ask("/api/step", {})[0] == 200
    assert one.wait_for("paused")["before"] == 0
    for each in (one, two):
        each.ask("/api/stop", {})
        each.wait_for("stopped")
    assert one.ask("/api/step", {})[0] == 409


def test_each_pupil_saves_few_networks(page: Page) -> None:
    visitor = Visitor(page)
    visitor.enter()
    visitor.ask("/api/training", QUICK)
    visitor.wait_for("done")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: visitor.ask("/api/save", {}), range(8)))
    assert sorted(status for status, _ in found) == [200] * pupils.MAX_SAVES + [409] * 3
    reasons = {answer["error"] for status, answer in found if status == 409}
    assert reasons == {f"you have saved {pupils.MAX_SAVES} networks, which is the limit"}


def test_pupils_are_so_many_and_idle_ones_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = TrainingManager(SAMPLE, tmp_path / "page", models.lenet5(), "a model")
    states = Pupils(first, 2)
    keys = [states.new_key() for _ in range(3)]
    one, two = (states.of(key) for key in keys[:2])
    assert len({one, two, first}) == 3
    assert states.of(keys[0]) is one
    with pytest.raises(BusyError, match="2 pupils are here already"):
        states.of(keys[2])
    for key in ("", "a", keys[0].upper() + "Z", "../" + keys[0]):
        assert states.of(key) is first
    one.start({"epochs": 100})
    monkeypatch.setattr(pupils, "IDLE_SECONDS", 0.0)
    time.sleep(0.01)
    third = states.of(keys[2])  # the second one goes; the first one trains
    assert two.closed
    assert states.of(keys[0]) is one
    one.pause()
    fourth = states.of(keys[1])
    assert one.closed
    assert fourth not in (one, two, third)
    states.close()
    one.close()
    assert one.current()["run"]["state"] == "stopped"


def test_made_up_keys_take_no_places_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = TrainingManager(SAMPLE, tmp_path / "page", models.lenet5(), "a model")
    states = Pupils(first, 4)
    trained, key = states.new_key(), states.new_key()
    mine = states.of(trained, "192.0.2.1")
    mine.start(QUICK)
    mine.join()
    made_up = [states.of(states.new_key(), "192.0.2.1") for _ in range(3)]
    with pytest.raises(BusyError):  # of the same address: nobody's place is another's
        states.of(states.new_key(), "192.0.2.1")
    other = states.of(key, "192.0.2.2")
    assert [each.closed for each in made_up] == [True, False, False]
    with pytest.raises(BusyError):  # now the two addresses would take turns
        states.of(states.new_key(), "192.0.2.2")
    assert states.of(key, "192.0.2.2") is other
    # What nobody asks for goes soon, but not with a run.
    monkeypatch.setattr(pupils, "UNUSED_SECONDS", 0.0)
    time.sleep(0.01)
    states.of(states.new_key(), "192.0.2.1")
    assert other.closed
    assert states.of(trained, "192.0.2.1") is mine
    assert not mine.closed
    states.close()


def test_with_one_state_for_all_nobody_gets_a_cookie(tmp_path: Path) -> None:
    with serving(TrainingManager(SAMPLE, tmp_path, models.lenet5(), "a model")) as served:
        page = Page(None, served.effective_port)
        for path in ("/", "/api/about"):
            assert "Set-Cookie" not in page.ask(path)[2]


# --- the command  ---


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.2", "localhost", "LOCALHOST.", "::1")],
        *[(host, False) for host in ("0.0.0.0", "0", "::", "192.0.2.7", "nosuch.invalid")],
    ],
)
def test_what_only_this_machine_can_reach(host: str, local: bool) -> None:
    assert server.is_local(host) == local


def test_the_command_prints_the_addresses_for_a_class(tmp_path: Path) -> None:
    models.lenet5().save(tmp_path / "model.safetensors")
    model = str(tmp_path / "model.safetensors")
    command = [sys.executable, "-m", "lenet_fast", "serve", model, "--dataset", "sample"]
    options = ["--host", "0.0.0.0", "--port", "0", "--no-browser", "--allow-host", "LabPC.local"]
    with started([*command, *options], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        own = re.search(r"^page +(http://127.0.0.1:(\d+)/\?token=(\w{10}))$", "".join(lines), re.M)
        assert own, lines
        _, port, token = own.groups()
        assert any(f"http://labpc.local:{port}/?token={token}" in line for line in lines)
        page = Page(None, int(port))  # type: ignore[arg-type]
        assert page.ask("/api/about")[0] == 403
        visitor = Visitor(page)
        visitor.enter(token)
        assert visitor.ask("/api/about")[0] == 200
        assert any(name.startswith("pupil_") for name in visitor.cookies)
        process.terminate()
        process.wait(30)
