"""What `init` recognises in a file that no recipe names: format, columns, counts, script and metrics."""

import json
from pathlib import Path

import pytest

from understudy.config.task import Fields, Format
from understudy.errors import DataError
from understudy.evaluation.metrics import METRICS
from understudy.tasks.file_description import FileDescription, describe_file

LONG = "a target of five words"


def described(path: Path, text: str, source: str | None = None, target: str | None = None) -> FileDescription:
    """The description of a file with this text."""
    path.write_text(text, encoding="utf-8")
    return describe_file(path, source=source, target=target, form=Format())


def test_columns_are_recognised_by_usual_names(tmp_path: Path) -> None:
    """One column that may be the source, and one that may be the target; sources that repeat are counted once."""
    found = described(tmp_path / "t.csv", f"question,answer,n\na,{LONG},1\nb,{LONG},2\na,another {LONG},3\n")

    assert (found.format, found.fields) == ("columns", Fields(source="question", target="answer"))
    assert (found.records, dict(found.targets)) == (3, {"a": (LONG, f"another {LONG}"), "b": (LONG,)})
    assert found.labeled


def test_the_names_of_recipes_are_no_guess(tmp_path: Path) -> None:
    """A file with source and target may have other columns with usual names."""
    found = described(tmp_path / "t.csv", f"source,input,target,answer\na,b,{LONG},d\n")

    assert found.fields == Fields()
    assert dict(found.targets) == {"a": (LONG,)}


def test_a_single_column_is_the_source(tmp_path: Path) -> None:
    """Whatever its name is."""
    found = described(tmp_path / "t.csv", "anfragen\na\nb\n")

    assert (found.fields.source, found.labeled) == ("anfragen", False)


@pytest.mark.parametrize(
    ("header", "named", "message"),
    [
        ("text,question,n", {}, r"'question', 'text' may each be the source: name it with --source"),
        ("x,y,n", {}, r"found the columns x, y, n; none of them has a usual name for the source"),
        ("question,answer,summary", {}, r"'answer', 'summary' may each be the target"),
        ("text,question,n", {"source": "txt"}, r"no column 'txt', found: text, question, n; did you mean 'text'"),
    ],
)
def test_columns_that_are_ambiguous_are_refused(
    tmp_path: Path, header: str, named: dict[str, str], message: str
) -> None:
    """The message has the candidates and the option that names one."""
    with pytest.raises(DataError, match=message):
        described(tmp_path / "t.csv", f"{header}\na,b,c\n", **named)


def test_a_conversation_is_described_with_or_without_answers(tmp_path: Path) -> None:
    """Requests alone are unlabeled inputs."""
    user, answer = {"role": "user", "content": "in"}, {"role": "assistant", "content": LONG}
    with_answer = described(tmp_path / "t.jsonl", json.dumps({"messages": [user, answer]}))
    alone = described(tmp_path / "u.jsonl", json.dumps({"messages": [user]}))

    assert (with_answer.format, dict(with_answer.targets)) == ("messages", {"in": (LONG,)})
    assert (alone.format, alone.labeled, dict(alone.targets)) == ("messages", False, {"in": ()})


def test_ids_of_several_sources_are_left_to_the_recipe_to_generate(tmp_path: Path) -> None:
    """A run would refuse them."""
    found = described(tmp_path / "t.csv", f"id,source,target\n1,a,{LONG}\n1,b,{LONG}\n")

    assert found.fields == Fields(id=None)


SCRIPTS = {
    "Latin": ("It is cold and windy in Oslo today", "latin", ("bleu", "chrf", "rouge")),
    "short Latin": ("positive", "latin", ("chrf",)),
    "Chinese": ("今天奥斯陆很冷", "spaceless", ("chrf",)),
    "Japanese": ("今日のオスロは寒いです", "spaceless", ("chrf",)),
    "Thai": ("วันนี้ออสโลหนาวมาก", "spaceless", ("chrf",)),
    "Russian": ("Сегодня в Осло холодно и ветрено", "other", ("bleu", "chrf")),
    "Arabic": ("الجو بارد وعاصف اليوم في أوسلو", "other", ("bleu", "chrf")),
    "Korean": ("오늘 오슬로는 춥고 바람이 불어요", "other", ("bleu", "chrf")),
}


@pytest.mark.parametrize(("text", "script", "metrics"), SCRIPTS.values(), ids=SCRIPTS)
def test_metrics_suit_the_script_of_the_targets(
    tmp_path: Path, text: str, script: str, metrics: tuple[str, ...]
) -> None:
    """Word metrics need spaces, BLEU four words, ROUGE Latin letters; each name is a metric there is."""
    found = described(tmp_path / "t.csv", f"source,target\na,{text}\n")

    assert (found.script, found.metrics) == (script, metrics)
    assert set(metrics) <= set(METRICS)
