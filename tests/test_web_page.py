"""The frame of the page in a real browser: first sight, network, words, address, presentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import require
from page_cases import CONTRAST, LETTERS, visit

from lenet_fast import web
from lenet_fast.connections import LENET5_C3

require("playwright")

from playwright.sync_api import Browser, BrowserContext, Page, expect  # noqa: E402

REFUSALS = ("BusyError", "RefusedError")
WIDTHS = (390, 768, 1280, 1920)


class Sight:
    """A page as it is first seen."""

    def __init__(self, context: BrowserContext, url: str, hash_: str = "") -> None:
        self.url = url
        self.said: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        visit(self.page, url + hash_)
        expect(self.page.locator("#digit")).to_have_text(re.compile(r"^\d$"))


@pytest.fixture
def see(browser: Browser, page_url: str) -> Iterator[Any]:
    """Yield a function that opens the page at an address in a new window."""
    contexts: list[BrowserContext] = []
    sights: list[Sight] = []

    def go(hash_: str = "#", **options: Any) -> Sight:
        options = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **options}
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(15_000)
        if hash_ != "":
            contexts[-1].add_init_script("localStorage.setItem('lenet-fast tour', 'seen')")
        sights.append(Sight(contexts[-1], page_url, hash_))
        return sights[-1]

    yield go
    for context in contexts:
        context.close()
    for each in sights:
        assert each.said == []


@pytest.mark.quick
def test_the_first_view_is_filled(see: Any) -> None:
    """A test digit is there and read rightly, and every map has a picture."""
    page = see().page
    expect(page.locator("#source")).to_have_text(re.compile(r"^Test digit \d+, labelled \d$"))
    label = page.locator("#source").inner_text()[-1]
    expect(page.locator("#digit")).to_have_text(label)
    expect(page.locator("#verdict")).to_have_text("right")
    painted = page.locator(".tile canvas").evaluate_all(
        """all => all.map(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data)
            .map(data => data.some((_, k) => k % 4 === 3 && data[k] > 0))"""
    )
    assert len(painted) == 1 + 6 + 6 + 16 + 16 + 1 + 1 + 10
    assert all(painted)


def test_a_wrong_answer_is_marked(see: Any) -> None:
    page = see().page
    page.locator("#wrong").click()
    expect(page.locator("#answer")).to_have_class("misread")
    found = re.fullmatch(r"read (\d), is\s(\d)", page.locator("#verdict").inner_text())
    assert found is not None
    assert found[1] == page.locator("#digit").inner_text()
    assert found[2] == page.locator("#source").inner_text()[-1] != found[1]
    page.locator("#clear").click()
    expect(page.locator("#verdict")).to_have_text("")


def test_the_tour_is_offered_once_and_found_again(see: Any) -> None:
    page = see("").page
    card, step = page.locator("#tour"), page.locator("#tour .row span")
    expect(step).to_have_text("1 of 5")
    for number in range(2, 6):
        card.get_by_role("button", name="Next").click()
        expect(step).to_have_text(f"{number} of 5")
        expect(page.locator(".pointed")).to_have_count(1)
    card.get_by_role("button", name="Done").click()
    expect(card).to_be_hidden()
    page.goto("about:blank")
    visit(page, see().url)
    expect(card).to_be_hidden()
    page.locator("#tour-again").click()
    expect(step).to_have_text("1 of 5")
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(page.locator(".pointed")).to_have_count(0)


def test_without_storage_the_tour_can_be_skipped(see: Any) -> None:
    page = see("#digit=0").page
    page.evaluate(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
    )
    page.locator("#tour-again").click()
    page.locator("#tour").get_by_role("button", name="Skip").click()
    expect(page.locator("#tour")).to_be_hidden()


def test_a_term_is_explained_by_mouse_keys_and_finger(see: Any) -> None:
    page = see(has_touch=True).page
    term, tip = page.locator("#value-name .term"), page.locator("#tip")
    expect(tip).to_be_hidden()
    term.hover()
    expect(tip).to_contain_text("squared distance")
    expect(term).to_have_attribute("aria-describedby", "tip")
    tip.hover()  # to read it, or to copy from it
    page.wait_for_timeout(400)
    expect(tip).to_be_visible()
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()
    term.focus()
    expect(tip).to_be_visible()
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.locator("#stage-name .term").first.tap()
    expect(tip).to_contain_text("The third layer")
    page.locator("#think-title").tap()
    expect(tip).to_be_hidden()


def test_links_are_those_of_the_papers_table(see: Any) -> None:
    page = see().page
    links = page.locator(".links:not(.over) path").evaluate_all(
        "paths => paths.map(path => [path.dataset.from, path.dataset.to])"
    )
    table = [[int(end.split(".")[1]) for end in link] for link in links if link[1].startswith("3.")]
    expected = [[s2, c3] for c3 in range(16) for s2 in range(6) if LENET5_C3[c3, s2]]
    assert table == expected
    assert len(expected) == 60
    one_to_one = [link for link in links if link[1].startswith(("2.", "4."))]
    assert all(source.split(".")[1] == to.split(".")[1] for source, to in one_to_one)
    assert len(one_to_one) == 6 + 16


def test_a_map_can_be_pinned_and_is_in_the_address(see: Any) -> None:
    page = see().page
    page.locator(".tile.large").nth(9).click()
    expect(page).to_have_url(re.compile(r"layer=C3&map=9"))
    page.mouse.move(5, 5)
    expect(page.locator("#seen")).to_have_text("C3, map 9 sees maps 0, 3, 4, 5 of S2.")
    expect(page.locator(".links.over path")).to_have_count(4)
    page.locator("#layer-names button", has_text="S2").click()
    expect(page).not_to_have_url(re.compile("map="))
    expect(page.locator(".links.over path")).to_have_count(0)


def test_languages_have_the_same_words(see: Any) -> None:
    """Every key, every placeholder, every form of a plural, and terms that exist."""
    languages = see().page.evaluate(
        """async () => {
            const { english, LANGUAGES } = await import('/static/strings.js');
            const { german } = await import('/static/strings.de.js');
            return Object.fromEntries(
                Object.keys(LANGUAGES).map((tag, k) => [tag, [english, german][k]]));
        }"""
    )
    assert set(languages) == {"en", "de"}

    def flat(words: dict[str, Any]) -> dict[str, str]:
        """The forms of a plural in one: a language may have more of them."""
        return {
            f"{part}.{key}": text if isinstance(text, str) else " ".join(text.values())
            for part, entries in words.items()
            for key, text in entries.items()
        }

    english, german = flat(languages["en"]), flat(languages["de"])
    assert set(english) == set(german)
    same = []
    for key, text in english.items():
        for pattern in (r"\{\w+\}", r"\]\(#\w+\)"):
            assert set(re.findall(pattern, text)) == set(re.findall(pattern, german[key])), key
        for term in re.findall(r"\]\(#(\w+)\)", text):
            assert f"terms.{term}" in english, key
        if text == german[key] and len(re.sub(r"\{\w+\}|LeNet|[^a-z]", "", text)) > 8:
            same.append(key)
    assert same == [], "not translated"
    # Every reason of the server has its words, and the values for them.
    reasons = {"failed": set()}
    for path in Path(web.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in REFUSALS:
                values = {each.arg for each in node.keywords}
                reasons[ast.literal_eval(node.args[1])] = values
    assert {
        key.removeprefix("refused."): set(re.findall(r"\{(\w+)\}", text))
        for key, text in german.items()
        if key.startswith("refused.")
    } == reasons


def test_what_the_server_refuses_is_said_in_the_language_of_the_page(see: Any) -> None:
    german = see("#lang=de&view=learn")
    page, told = german.page, german.page.locator("#told")
    page.locator("[name=rate]").fill("0")
    page.locator("#start").click()
    expect(told).to_have_text("Die Lernrate muss größer als 0 sein, und höchstens 10.")
    page.locator("#rate-now").evaluate("field => { field.disabled = false; }")
    page.locator("#rate-now").fill("0.1")
    page.locator("#rate-now").press("Tab")
    expect(told).to_have_text("Es läuft kein Training.")
    assert len(german.said) == 1, "the browser's own line about the answer 409"
    german.said.clear()


def test_the_language_follows_the_browser_the_address_and_the_choice(see: Any) -> None:
    page = see(locale="de-AT").page
    expect(page.locator("#clear")).to_have_text("Löschen")
    assert page.evaluate("document.documentElement.lang") == "de"
    page.locator("#language").select_option("en")
    expect(page.locator("#clear")).to_have_text("Clear")
    expect(page).to_have_url(re.compile("lang=en"))
    page = see("#lang=de").page
    expect(page.locator("#clear")).to_have_text("Löschen")
    expect(page.locator("#bars .value").first).to_have_text(re.compile(r"^\d+,\d$"))


def test_the_address_holds_all_that_is_seen(see: Any) -> None:
    first = see("#digit=7&layer=S4&map=3&mode=present&lang=de&lesson=2")
    page = first.page
    state = """[document.getElementById('source').textContent,
        document.getElementById('digit').textContent,
        document.querySelector('#layer-names [aria-checked=true]').textContent,
        document.getElementById('seen').textContent, document.documentElement.className,
        document.documentElement.lang, document.getElementById('guide-title').textContent]"""
    found = page.evaluate(state)
    assert found[0].startswith("Testziffer 7,")
    assert found[2:6] == ["S4", "S4, Karte 3 sieht Karte 3 von C3.", "present", "de"]
    assert found[6].startswith("Lektion 2 von 8")
    # A drawing travels, too.
    page.keyboard.press("c")
    page.locator("#pad").focus()
    page.keyboard.press("Space")
    for _ in range(25):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#digit")).to_have_text("1")
    expect(page).to_have_url(re.compile("drawing="))
    address = page.evaluate(
        "import('/static/state.js').then(({ state }) => state.address())"  # with all keys pressed
    )
    assert len(address) < 400
    other = see("#" + address.split("#")[1]).page
    expect(other.locator("#digit")).to_have_text("1")
    assert other.evaluate(state) == page.evaluate(state)
    values = "[...document.querySelectorAll('#bars .value')].map(e => e.textContent).join()"
    assert other.evaluate(values) == page.evaluate(values)


def test_a_changed_address_wins_over_a_choice_just_before(see: Any) -> None:
    page = see("#digit=7&layer=C1").page
    page.evaluate(
        """import('/static/state.js').then(({ state }) => {
            state.set('layer', 'C5');
            location.hash = '#digit=7&layer=S4';
            state.address(); // writes what is due
        })"""
    )
    expect(page.locator("#layer-names [aria-checked=true]")).to_have_text("S4")
    page.wait_for_timeout(400)  # longer than choices are held back
    assert page.url.endswith("#digit=7&layer=S4")


def test_back_and_forward_go_through_the_views_and_keep_the_drawing(see: Any) -> None:
    page = see("#digit=7").page
    shown = page.locator("#tabs [aria-selected=true]")
    entries = page.evaluate("history.length")
    page.locator("#tab-fails").click()
    expect(page).to_have_url(re.compile("view=fails"))
    page.locator("#tab-deceive").click()
    expect(page).to_have_url(re.compile("fails=deceive"))
    for strength in ("0.2", "0.4", "0.6"):
        page.locator("#strength").fill(strength)
    page.locator("#clear").click()
    page.locator("#pad").focus()
    page.keyboard.press("Space")
    for _ in range(25):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#digit")).to_have_text("1")
    page.keyboard.press("l")
    expect(page).to_have_url(re.compile("drawing=.*lesson=1"))
    page.locator("#present").click()
    expect(page).to_have_url(re.compile("mode=present"))
    assert page.evaluate("history.length") == entries + 4
    page.go_back()
    expect(page.locator("html")).not_to_have_class("present")
    expect(page.locator("#guide")).to_be_visible()
    page.go_back()
    expect(page.locator("#guide")).to_be_hidden()
    expect(page.locator("#deceive")).to_be_visible()
    page.go_back()
    expect(page.locator("#confusions")).to_be_visible()
    page.go_back()
    expect(shown).to_have_text("How it computes")
    expect(page.locator("#digit")).to_have_text("1")
    expect(page).to_have_url(re.compile("drawing="))
    page.go_forward()
    expect(shown).to_have_text("Where it fails")
    expect(page.locator("#digit")).to_have_text("1")
    # Browsers refuse more than a few entries a second.
    page.evaluate(
        "for (let k = 0; k < 301; k++) document.getElementById("
        "`tab-${k % 2 ? 'fails' : 'steps'}`).click()"
    )
    expect(page).to_have_url(re.compile("view=steps"))
    assert page.evaluate("history.length") == entries + 2


def test_an_address_that_makes_no_sense_is_no_harm(see: Any) -> None:
    page = see("#digit=-1&layer=Q9&map=99&view=none&mode=x&lang=xx&lesson=77&drawing=%00!").page
    expect(page.locator("#layer-names [aria-checked=true]")).to_have_text("C3")
    expect(page.locator("#guide")).to_be_hidden()
    # What every object of JavaScript has is neither a language nor a map.
    page = see("#lang=toString&layer=C3&map=length&view=fails&fails=toString").page
    expect(page.locator("#seen")).to_contain_text("Point at a map")
    expect(page.locator("#confusions")).to_be_visible()


def test_pictures_are_saved(see: Any, tmp_path: Path) -> None:
    page = see().page
    for kind in ("PNG", "SVG"):
        with page.expect_download() as download:
            page.locator("#think .export").get_by_role("button", name=kind).click()
        assert download.value.suggested_filename == f"lenet-C3.{kind.lower()}"
        download.value.save_as(tmp_path / kind)
    assert (tmp_path / "PNG").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "SVG").read_text()
    assert svg.count("<image") == 57
    assert svg.count("<path") >= 60 + 6 + 6 + 16
    assert "convolution" in svg
    # It can be read as a picture of its own.
    fine = page.evaluate(
        "text => !new DOMParser().parseFromString(text, 'image/svg+xml')"
        ".querySelector('parsererror')",
        svg,
    )
    assert fine


@pytest.mark.parametrize(("width", "height", "least"), [(1920, 1080, 24), (3840, 2160, 48)])
def test_a_presentation_fills_the_projector(see: Any, width: int, height: int, least: int) -> None:
    page = see("#mode=present&layer=C1", viewport={"width": width, "height": height}).page
    assert page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    ) == [width, height]
    small = page.evaluate(
        f"{LETTERS}.filter(e => e.closest('header, .side, #think, #tabs'))"
        ".map(e => [parseFloat(getComputedStyle(e).fontSize), e.outerHTML.slice(0, 100)])"
    )
    assert len(small) > 30
    assert [each for each in small if each[0] < least - 0.01] == []
    box = page.locator("#think").bounding_box()
    assert box is not None
    assert box["width"] > 0.7 * width
    assert box["height"] > 0.8 * height
    glance = page.locator("#glance").bounding_box()
    assert glance is not None
    assert glance["height"] > 0.6 * height


@pytest.mark.parametrize("lang", ["en", "de"])
def test_in_a_presentation_no_view_is_cut(see: Any, lang: str) -> None:
    hash_ = f"#mode=present&lang={lang}&view=learn"
    page = see(hash_, viewport={"width": 1920, "height": 1080}).page
    page.locator("#credit").evaluate("line => { line.textContent = 'of a static page'; }")
    views = [f"steps&layer={name}&map=2" for name in ("C1", "S2", "C3", "C5", "F6", "OUTPUT")]
    views += [f"fails&fails={name}" for name in ("confusions", "look", "deceive", "reject")]
    for name in ("#stop", "#chart", "#losses", "#gradients"):
        expect(page.locator(name)).to_be_in_viewport(ratio=1)
    for view in (*views, "steps&layer=C3&map=15", "think"):
        page.evaluate(f"location.hash = '#digit=7&mode=present&lang={lang}&view={view}'")
        page.wait_for_timeout(300)
        cut = page.evaluate(
            """[...document.querySelectorAll('body, body *')].filter(e => e.checkVisibility()
                && !e.closest('.unseen, svg, .gallery, .framed')
                && getComputedStyle(e).overflow !== 'visible'
                && (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1)
            ).map(e => `${e.tagName} ${e.id} ${e.className}`)"""
        )
        assert cut == [], view


@pytest.mark.parametrize("lang", ["en", "de"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(see: Any, width: int, lang: str) -> None:
    page = see(f"#lang={lang}&lesson=1", viewport={"width": width, "height": 900}).page
    for name in ("C1", "C3", "C5", "F6"):
        page.locator("#layer-names button", has_text=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        outside = page.evaluate(
            """[...document.querySelectorAll('#glance *, .side *, header *')].filter(e => {
                const box = e.getBoundingClientRect();
                return box.width && !e.closest('.unseen, svg')
                    && (box.left < -1 || box.right > innerWidth + 1);
            }).map(e => e.outerHTML.slice(0, 80))"""
        )
        assert outside == [], name


def test_choosing_a_layer_moves_nothing_else(see: Any) -> None:
    page = see().page
    where = (
        "JSON.stringify([...document.querySelectorAll("
        "'header, section, #bars, #glance, #tabs, #stage-name')]"
        ".map(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }))"
    )
    before = page.evaluate(where)
    for name in ("C1", "S2", "C3", "S4", "C5", "F6"):
        page.locator("#layer-names button", has_text=name).click()
        assert page.evaluate(where) == before, name
    page.locator("#wrong").click()
    expect(page.locator("#answer")).to_have_class("misread")
    assert page.evaluate(where) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(see: Any, scheme: str) -> None:
    """WCAG AA: 4.5, also of large text."""
    page = see("#lesson=3&layer=F6", color_scheme=scheme).page
    found = page.evaluate(CONTRAST)
    assert len(found) > 60
    assert [each for each in found if each[0] < 4.5] == []
    page.locator("#wrong").click()
    expect(page.locator("#answer")).to_have_class("misread")
    assert [each for each in page.evaluate(CONTRAST) if each[0] < 4.5] == []


def test_negative_and_positive_differ_also_without_colour_vision(see: Any) -> None:
    """In the eyes of people without red, green or blue cones (Machado and others 2009)."""
    machado = {
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }
    for scheme in ("light", "dark"):
        page = see(color_scheme=scheme).page
        low, high = page.evaluate(
            "import('/static/colours.js').then(({ colours }) => [-0.5, 0.5].map(value => "
            "colours.css(value, 1).match(/\\d+/g).map(byte => (byte / 255) ** 2.2)))"
        )
        for name, matrix in machado.items():
            seen = [
                [sum(m * c for m, c in zip(row, colour, strict=True)) for row in matrix]
                for colour in (low, high)
            ]
            apart = max(abs(a - b) for a, b in zip(*seen, strict=True))
            assert apart > 0.15, (scheme, name)


@pytest.mark.quick
def test_every_control_has_a_name_and_the_dialogs_too(see: Any) -> None:
    page = see("#lesson=1").page
    page.locator("#help").click()
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, [role=button], [role=radio],'
            + ' [role=tab], canvas[tabindex], dialog, aside, summary')].filter(e => {
            if (!e.checkVisibility()) return false;
            const by = document.getElementById(e.getAttribute('aria-labelledby'))?.textContent;
            const labels = [...(e.labels ?? [])].map(l => l.textContent).join(' ');
            return !(e.getAttribute('aria-label') || by || labels || e.textContent).trim();
        }).map(e => e.outerHTML.slice(0, 100))"""
    )
    assert nameless == []


def test_keys(see: Any) -> None:
    page = see().page
    chosen = page.locator("#layer-names [aria-checked=true]")
    page.keyboard.press(".")
    expect(chosen).to_have_text("S4")
    page.keyboard.press(",")
    page.keyboard.press(",")
    expect(chosen).to_have_text("S2")
    page.keyboard.press("p")
    expect(page.locator("html")).to_have_class("present")
    page.keyboard.press("p")
    expect(page.locator("html")).not_to_have_class("present")
    page.keyboard.press("l")
    expect(page.locator("#guide-title")).to_contain_text("Lesson 1 of 8")
    expect(chosen).to_have_text("C1")
    page.keyboard.press("l")
    expect(page.locator("#guide")).to_be_hidden()
    page.keyboard.press("m")
    expect(page.locator("#answer")).to_have_class("misread")
    # They can be switched off, and do nothing in a field.
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press(".")
    expect(chosen).to_have_text("C1")
    page.locator("#index").focus()
    page.keyboard.press("p")
    expect(page.locator("html")).not_to_have_class("present")


def test_the_lessons_are_those_of_the_notebooks(see: Any) -> None:
    page = see("#lesson=1").page
    for number in range(1, 9):
        expect(page.locator("#guide-title")).to_contain_text(f"Lesson {number} of 8")
        page.locator("#guide summary").click()
        expect(page.locator("#guide details p")).not_to_be_empty()
        if number < 8:
            page.get_by_role("button", name="Next lesson").click()
    expect(page.get_by_role("button", name="Next lesson")).to_be_disabled()
    notebooks = Path(__file__).parents[1].joinpath("docs", "lessons").glob("?-*.ipynb")
    assert len(list(notebooks)) == 8
    page.get_by_role("button", name="End lessons").click()
    expect(page.locator("#guide")).to_be_hidden()
