import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import pytest

from understudy.report.facts import Facts, Interval
from understudy.report.page import render, write_report
from understudy.report.verdict import verdict

HOSTILE = "</script><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;"
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """What a reader of HTML finds: elements with their attributes, and visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element and that it is open."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that closes itself, as they do in SVG."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Hold that elements are closed in the order in which they were opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep what a reader sees apart from what runs."""
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data


def hostile(value: object) -> object:
    """The same facts, every free text replaced by one that tries to leave its place."""
    match value:
        case str():
            return HOSTILE
        case dict():
            names = {"task", "run", "recipe", "how", "source", "text", "note", "signature", "tag", "name", "key"}
            return {
                key: hostile(item) if key in names or not isinstance(item, str) else item for key, item in value.items()
            }
        case list():
            return [hostile(item) for item in value]
        case _:
            return value


def test_the_page_parses_and_names_every_system(facts: Facts, html: str) -> None:
    """Each element that is opened is closed; verdict, systems, texts and recipe can be read."""
    page = Page(html)

    assert page.open == []
    for said in (verdict(facts), "Teacher", "Fine-tuned student", "Joint teaching", facts["recipe"]):
        assert said in page.text
    for example in facts["examples"]:
        assert example["source"] in page.text


def test_the_page_asks_nothing_of_the_network(html: str) -> None:
    """No element refers to anything outside, and the page's policy would forbid it."""
    page = Page(html)
    references = [
        value or ""
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"src", "href", "xlink:href", "action", "data", "srcset"}
    ]

    assert all(reference.startswith("#") for reference in references)
    assert not re.search(r"url\((?!#)|@import", html)
    assert "default-src 'none'" in html


def test_hostile_text_stays_text(facts: Facts) -> None:
    """A source that closes a script opens none: the only script is ours, and only it may run."""
    facts = cast("Facts", hostile(facts) | {"method": "joint_teaching"})  # type: ignore[operator]
    page = Page(render(facts))
    (script,) = page.scripts
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert f"script-src 'sha256-{digest}'" in str(page.elements)
    assert HOSTILE in page.text


def test_a_gap_without_a_share_shows_its_note(facts: Facts) -> None:
    """The reader learns why there is no number."""
    nothing: Interval = {"value": None, "low": None, "high": None, "note": "the teacher does not lead"}
    facts["gap_closed"] = {"bleu": nothing}

    del facts["curves"], facts["pool"]  # figures take their time and are not read here

    assert "the teacher does not lead" in Page(render(facts)).text


@pytest.mark.parametrize("keep", [0, 1])
def test_only_the_contract_is_needed(facts: Facts, keep: int) -> None:
    """A page is made of what there is, even of a single system."""
    bare: Facts = {
        "task": "t",
        "primary_metric": "bleu",
        "systems": facts["systems"][2 : 2 + keep],
        "gap_closed": {},
        "method": "joint_teaching",
    }

    assert verdict(bare) in Page(render(bare)).text


def test_without_its_script_the_page_is_a_plain_list(html: str) -> None:
    """Filters are hidden until the script shows them; examples are not."""
    page = Page(html)
    hidden = [attributes.get("class") for _, attributes in page.elements if "hidden" in attributes]

    assert hidden == ["filter", "filter"]
    assert sum(tag == "article" for tag, _ in page.elements) == 6


def test_page_and_json_are_written_together(tmp_path: Path, facts: Facts, html: str) -> None:
    """Equal facts give equal bytes, and the facts lie beside the page."""
    page = write_report(facts, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert page.read_text("utf-8") == html
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == facts
