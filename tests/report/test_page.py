import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import pytest

from understudy.report.content_facts import Interval
from understudy.report.facts import Facts
from understudy.report.formatting import SPACE
from understudy.report.page import ITEM_ERRORS, render, write_report
from understudy.report.tables import api_responses_table, costs_table
from understudy.report.verdict import verdict

HOSTILE = "</script><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;"
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """The elements of an HTML page with their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the element and that it is open."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element that closes itself, as in SVG."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Check that elements are closed in reverse order of opening."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Separate visible text from scripts."""
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data


def hostile(value: object) -> object:
    """The same facts with every free text replaced by an HTML injection."""
    match value:
        case str():
            return HOSTILE
        case dict():
            names = {
                *(
                    "task",
                    "run",
                    "recipe",
                    "benchmark_conditions",
                    "source",
                    "text",
                    "note",
                    "signature",
                    "tag",
                    "name",
                ),
                *("key", "label", "model", "example_metric_label"),
            }
            return {
                key: hostile(item) if key in names or not isinstance(item, str) else item for key, item in value.items()
            }
        case list():
            return [hostile(item) for item in value]
        case _:
            return value


def test_the_page_parses_and_names_every_system(facts: Facts, html: str) -> None:
    """Every opened element is closed; verdict, systems, sources and recipe are visible."""
    page = Page(html)

    assert page.open == []
    for text in (
        verdict(facts),
        "Teacher",
        "Fine-tuned student",
        "Distilled student",
        facts["recipe"],
        facts["benchmark_conditions"],
    ):
        assert text in page.text
    for example in facts["examples"]:
        assert example["source"] in page.text


def test_the_page_loads_nothing_from_the_network(html: str) -> None:
    """No element refers to another file, and the content security policy would block it."""
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


def test_injected_html_stays_text(facts: Facts) -> None:
    """The page has one script, its own, and the content security policy allows no other."""
    facts = cast("Facts", hostile(facts) | {"method": "joint_teaching"})  # type: ignore[operator]
    page = Page(render(facts))
    (script,) = page.scripts
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert f"script-src 'sha256-{digest}'" in str(page.elements)
    assert HOSTILE in page.text


def test_the_page_uses_the_labels_of_the_facts(facts: Facts) -> None:
    """A metric of the user appears with its own label, and an arrow marks that lower is better."""
    del facts["curves"], facts["pool"]  # figures are slow and not needed here
    for system in facts["systems"]:
        system["scores"]["mine:own"] = system["scores"]["bleu"] | {"label": "My error", "higher_is_better": False}
    facts["primary_metric"] = facts["example_metric"] = "mine:own"
    del facts["example_metric_label"]
    text = Page(render(facts)).text

    assert f"My error{SPACE}↓" in text
    assert "↓: lower is better." in text
    assert "My error 61.2" in text
    assert "mine:own" not in text


def test_responses_of_an_api_teacher_have_a_section(facts: Facts) -> None:
    """The page shows requests, cost, rejected responses and the alignment of log-probabilities."""
    del facts["curves"], facts["pool"]  # figures are slow and not needed here
    facts["api_responses"] = {
        "model": "some-model",
        "inputs": 40,
        "requests": 43,
        "texts": 77,
        "with_logprobs": 71,
        "rejected": {"a refusal": 3},
        "failed": {"timeout": 2},
        "without_reference": {"dev": 1, "test": 0},
        "too_long": 5,
        "spent": 0.125,
        "latency_ms": {"p50": 812.0, "p95": 1904.0},
        "logprob_alignment": {"exact": 0.625, "merged": 0.25, "text": 0.125},
    }
    html = render(facts)
    rows, costs = api_responses_table(facts).rows, costs_table(facts).rows

    assert 'id="api-responses"' in html
    assert [row[1].value.replace("\u202f", " ") for row in rows] == [
        "some-model", "40", "43", "0.1250", "77", "71", "3", "2", "1", "5", "62.5 %", "25.0 %", "12.5 %",
    ]  # fmt: skip
    assert [cell.value.replace("\u202f", " ") for cell in costs[0][3:5]] == ["812 ms", "1904 ms"]
    assert "a refusal" in html
    assert "timeout" in html


def test_a_gap_without_a_share_shows_its_note(facts: Facts) -> None:
    """The note explains why there is no number."""
    unknown: Interval = {"value": None, "low": None, "high": None, "note": "the teacher does not lead"}
    facts["gap_closed"] = {"bleu": unknown}

    del facts["curves"], facts["pool"]  # figures are slow and not needed here

    assert "The teacher does not lead." in Page(render(facts)).text


@pytest.mark.parametrize("keep", [0, 1])
def test_required_facts_suffice(facts: Facts, keep: int) -> None:
    """The page needs only the required keys, and works with no system or one."""
    bare: Facts = {
        "task": "t",
        "primary_metric": "bleu",
        "systems": facts["systems"][2 : 2 + keep],
        "gap_closed": {},
        "method": "joint_teaching",
    }

    assert verdict(bare) in Page(render(bare)).text


def test_without_its_script_the_page_is_a_plain_list(html: str) -> None:
    """The filters are hidden until the script shows them; one example of each kind is open, the others are folded."""
    page = Page(html)
    hidden = [attributes.get("class") for _, attributes in page.elements if "hidden" in attributes]

    assert hidden == ["filter", "filter"]
    items = [attributes for tag, attributes in page.elements if tag == "details" and attributes.get("class") == "item"]
    assert ["open" in attributes for attributes in items] == [True, True, True]
    assert sum(tag == "article" for tag, _ in page.elements) == 3


def test_page_and_json_are_written_together(tmp_path: Path, facts: Facts, html: str) -> None:
    """Equal facts give equal bytes, and the JSON file is in the same folder."""
    page = write_report(facts, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert page.read_text("utf-8") == html
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == facts


@pytest.fixture
def small(facts: Facts) -> Facts:
    """The facts without figures, which are slow."""
    del facts["curves"], facts["pool"]
    return facts


def test_the_gap_comes_first(html: str) -> None:
    """The first tile and the first column of the first table; on a phone nothing is above them but the verdict."""
    text = Page(html).text

    assert text.index("Gap closed in BLEU") < text.index("Parameters")
    assert [text.index(word) for word in ("Quality", "Cost", "Examples")] == sorted(
        text.index(word) for word in ("Quality", "Cost", "Examples")
    )
    assert html.index('<th scope="col">Gap closed</th>') < html.index('<th scope="col">Teacher</th>')


def test_every_cell_names_its_column(html: str) -> None:
    """On a phone a row is a block of lines, each with the head of its column."""
    cells = [attributes for tag, attributes in Page(html).elements if tag == "td"]

    assert cells
    assert all(attributes.get("data-head") for attributes in cells if "data-head" in attributes)
    assert "attr(data-head)" in html


def test_equal_examples_are_folded(small: Facts) -> None:
    """The first example of each kind is open; the page says of each why it is shown, not how good it is."""
    tags = ("student ahead of teacher by chrF", "random")
    small["examples"] = [example | {"tag": tag} for tag in tags for example in small["examples"]]
    page = Page(render(small))
    items = [attributes for tag, attributes in page.elements if tag == "details" and attributes.get("class") == "item"]

    assert ["open" in attributes for attributes in items] == [True, False, False, True, False, False]
    assert "student ahead of teacher by chrF" in page.text
    assert "best" not in page.text.split("Examples")[1].split("Reproduce")[0]


def test_findings_of_an_example_are_shown_and_can_be_filtered(small: Facts) -> None:
    """What a check found wrong is below the prediction."""
    for example, tag in zip(small["examples"], ("ahead", "behind", "random"), strict=True):
        example["tag"] = tag
    small["examples"][1]["item_errors"] = {"joint_teaching": {"missing": ["45 km/h"], "invented": []}}
    page = Page(render(small))
    items = [attributes["data-tags"] for tag, attributes in page.elements if "data-tags" in attributes]

    assert "missing: 45 km/h" in page.text
    assert "invented:" not in page.text
    assert items == ["ahead", f"behind|{ITEM_ERRORS}", "random"]


def test_warnings_date_machine_and_versions_are_on_the_page(small: Facts) -> None:
    """Warnings stand above the limitations."""
    small["warnings"] = ["12 of 40 targets change when they are encoded and decoded."]
    small["date"], small["machine"] = "2026-11-28", "A processor, 2 cores"
    text = Page(render(small)).text

    assert text.index("Warnings") < text.index("12 of 40 targets") < text.index("Limitations")
    assert text.count("2026-11-28") == text.count("A processor, 2 cores") == 2
    assert "torch 2.13.0" in text


def test_control_characters_are_visible(small: Facts) -> None:
    """An escape, an override of the writing direction and half a surrogate pair are shown, not obeyed."""
    small["task"], small["examples"][0]["source"] = "a\x1b[31m", "a\u202eb\ud800"
    html = render(small)

    assert r"a\x1b[31m" in html
    assert r"a\u202eb\ud800" in html
    assert not {"\x1b", "\u202e", "\ud800"} & {*html}


def test_half_a_surrogate_pair_is_written_as_json(tmp_path: Path, small: Facts) -> None:
    """UTF-8 cannot hold it; JSON has an escape for it, so that every reader gets the same text."""
    small["task"] = "a\ud800"
    write_report(small, tmp_path)

    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["task"] == "a\ud800"
