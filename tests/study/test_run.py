import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import CHRF
from understudy.pipeline.bench import Bench
from understudy.pipeline.learned import Learned
from understudy.store.stages import claim

from understudy.config.study import Study, cells_of, check_study
from understudy.errors import ConfigError
from understudy.pipeline.run import learn
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.study.cells import CELLS, StudyPaths
from understudy.study.run_study import Choice, StudyResult, run_study

TOO_LONG = {"name": "Short", "group": "S3", "method": "logits_kd", "set": {"task": {"max_target_tokens": 2}}}


class TeacherLogprobScorer:
    """Remembers what is worked at and what is said."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.sentences: list[str] = []

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
        """Remembers a piece of work."""
        self.titles.append(title)
        yield NO_PROGRESS

    def log(self, message: str) -> None:
        """Remembers a sentence."""
        self.sentences.append(sentence)


def answers(studied: StudyResult, stage: str) -> list[dict[str, Any]]:
    """What a system wrote for dev."""
    lines = (studied.folder.parent / "store" / stage / "dev.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def inputs_of(stage: Path) -> dict[str, str]:
    """Label -> key of the stages a stage was made from."""
    found: dict[str, str] = json.loads((stage / "manifest.json").read_text())["inputs"]
    return found


def test_every_cell_has_a_row(studied: StudyResult, tiny: Study) -> None:
    """Two methods with two seeds on one task are four rows, all methods with the first seed before the second."""
    assert [(row["method"], row["seed"]) for row in studied.results_table["rows"]] == [
        ("Logits", 1),
        ("Sequence-level", 1),
        ("Logits", 2),
        ("Sequence-level", 2),
    ]
    assert studied.results_table["missing"] == []
    assert studied.failures == []
    assert json.loads((studied.folder / "results_table.json").read_text()) == studied.results_table
    assert tiny.name in studied.page.read_text()


def test_cells_share_what_does_not_depend_on_seed_or_method(studied: StudyResult) -> None:
    """One data set, one tokenizer, one teacher and one pool; a baseline per seed; a student per cell."""
    made = Counter(path.name.rsplit("-", 1)[0] for path in (studied.folder.parent / "store").iterdir())

    assert made == {
        "data": 1,
        "tokenizer": 1,
        "teacher": 1,
        "texts": 1,
        "pool": 1,
        "signal_gold": 1,
        "answers_teacher": 1,
        "fine_tuned": 2,
        "answers_fine_tuned": 2,
        "logits_kd": 2,
        "answers_logits_kd": 2,
        "sequence_level": 2,
        "answers_sequence_level": 2,
        "row": 4,
    }


def test_a_row_is_what_the_answers_say(studied: StudyResult, tiny: Study) -> None:
    """Its scores are those another library gives the texts that the very stages of the cell hold."""
    for cell, row in zip(cells_of(tiny), studied.results_table["rows"], strict=True):
        record = json.loads(StudyPaths(studied.folder.parent, tiny.name).record(cell).read_text())
        keys = inputs_of(studied.folder.parent / "store" / record["stage"])
        shown = {"distilled": row["scores"]["dev"]["chrf"]}
        shown |= {name: own["dev"]["chrf"] for name, own in row["comparison_scores"].items()}
        for system, key in keys.items():
            name = cell.recipe.distil.method if system == "distilled" else system
            written = answers(studied, f"answers_{name}-{key}")
            references = [[line["references"][0] for line in written]]
            expected = CHRF().corpus_score([line["text"] for line in written], references).score
            assert shown[system] == pytest.approx(expected)


def test_the_seconds_are_those_of_the_student_and_its_answers(studied: StudyResult) -> None:
    """What cells share is not counted again and again."""
    store = studied.folder.parent / "store"
    own = [json.loads((path / "manifest.json").read_text())["seconds"] for path in store.glob("*logits_kd-*")]
    rows = [row["seconds"] for row in studied.results_table["rows"] if row["method"] == "Logits"]

    assert sum(rows) == pytest.approx(sum(own), abs=0.01)


def test_a_finished_study_is_not_made_again(studied: StudyResult, tiny: Study) -> None:
    """A second call works at nothing and tells the same results_table."""
    listener = TeacherLogprobScorer()
    again = run_study(tiny, out=studied.folder.parent, progress=listener)

    assert (listener.titles, listener.sentences) == ([], [])
    assert again.results_table == studied.results_table


def test_a_lost_record_costs_no_training(studied: StudyResult, tiny: Study, tmp_path: Path) -> None:
    """The stages know what they are: a study that only finds the store works at nothing either."""
    shutil.copytree(studied.folder.parent / "store", tmp_path / "store")
    listener = TeacherLogprobScorer()
    again = run_study(tiny, out=tmp_path, progress=listener)

    assert listener.titles == []
    assert again.results_table == studied.results_table


def test_a_changed_recipe_is_a_cell_anew(studied: StudyResult, raw: dict[str, Any], tmp_path: Path) -> None:
    """The record of another recipe is not taken for one's own; what both share is found."""
    shutil.copytree(studied.folder.parent, tmp_path / "runs")
    raw["methods"][0]["set"] = {"training": {"learning_rate": 1e-4}}
    listener = TeacherLogprobScorer()
    run_study(check_study(raw, folder=Path()), out=tmp_path / "runs", progress=listener)

    assert Counter(listener.titles) == {
        "student learns by logits_kd": 2,
        "logits_kd answers dev": 2,
        "logits_kd answers test": 2,
    }


def test_a_cell_that_another_process_makes_is_looked_at_again_later(
    studied: StudyResult, tiny: Study, tmp_path: Path
) -> None:
    """The others are made first; when the other process lets go, what it left undone is made."""
    shutil.copytree(studied.folder.parent / "store", tmp_path / "store")
    place, first = StudyPaths(tmp_path, tiny.name), next(cells_of(tiny))
    (place.folder / CELLS).mkdir(parents=True)
    with ExitStack() as other:

        class Released(TeacherLogprobScorer):
            """Lets the other process go when this one begins to wait."""

            def log(self, message: str) -> None:
                super().say(sentence)
                if sentence.startswith("other processes"):
                    other.close()

        listener = Released()
        other.enter_context(claim(place.lock(first)))
        done = run_study(tiny, out=tmp_path, progress=listener)

    assert listener.sentences == [
        "tiny, Sequence-level, seed 1",
        "tiny, Logits, seed 2",
        "tiny, Sequence-level, seed 2",
        "other processes are making what is left (1 of the cells); waiting for them",
        "tiny, Logits, seed 1",
    ]
    assert done.results_table == studied.results_table


def test_a_failing_cell_does_not_stop_the_others(studied: StudyResult, raw: dict[str, Any], tmp_path: Path) -> None:
    """Its sentence stands in the results_table, and it is tried again when the study is."""
    shutil.copytree(studied.folder.parent / "store", tmp_path / "store")
    raw["methods"].insert(0, TOO_LONG)
    study = check_study(raw, folder=Path())
    listener = TeacherLogprobScorer()
    done = run_study(study, out=tmp_path, progress=listener)
    again = run_study(study, out=tmp_path, progress=listener)

    assert [row["method"] for row in done.results_table["rows"]] == ["Logits", "Sequence-level"] * 2
    assert [(cell["method"], cell["seed"]) for cell in done.results_table["missing"]] == [("Short", 1), ("Short", 2)]
    assert all("max_target_tokens" in failure for failure in done.failures)
    assert done.failures[0] in listener.sentences[1].replace(" failed:", ":")
    assert sum("Short, seed 1 failed" in sentence for sentence in listener.sentences) == 2
    assert again.failures == done.failures


def test_a_cell_that_breaks_does_not_stop_the_others_either(
    studied: StudyResult, tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that needs more memory than there is; the traceback is kept where the sentence says."""
    shutil.copytree(studied.folder.parent / "store", tmp_path / "store")

    def breaking(bench: Bench) -> Learned:
        if bench.recipe.distil.method == "logits_kd":
            raise MemoryError("no room for 3 GB")
        return learn(bench)

    monkeypatch.setattr("understudy.study.cells.learn", breaking)
    done = run_study(tiny, out=tmp_path)
    (trace, _) = sorted(done.folder.rglob("*.traceback.txt"))

    assert {row["method"] for row in done.results_table["rows"]} == {"Sequence-level"}
    assert done.failures[0] == f"tiny, Logits, seed 1: MemoryError: no room for 3 GB; its traceback is in {trace}"
    assert "in breaking" in trace.read_text()


def test_a_study_can_be_made_in_parts(studied: StudyResult, tiny: Study, tmp_path: Path) -> None:
    """The results_table shows what is made, and what is not."""
    shutil.copytree(studied.folder.parent / "store", tmp_path / "store")
    done = run_study(tiny, out=tmp_path, choice=Choice(tasks=["tiny"], methods=["Logits"]))

    assert {row["method"] for row in done.results_table["rows"]} == {"Logits"}
    assert [(cell["method"], cell["error"]) for cell in done.results_table["missing"]] == [("Sequence-level", "")] * 2
    assert done.failures == []


def test_unknown_parts_are_answered_with_the_known(tiny: Study, tmp_path: Path) -> None:
    """Tasks, rows and seeds alike."""
    with pytest.raises(ConfigError, match=r"unknown task 'tyny'; known: tiny; did you mean 'tiny'\?"):
        run_study(tiny, out=tmp_path, choice=Choice(tasks=["tyny"]))
    with pytest.raises(ConfigError, match=r"unknown method 'logits'; known: Logits, Sequence-level"):
        run_study(tiny, out=tmp_path, choice=Choice(methods=["logits"]))
    with pytest.raises(ConfigError, match=r"unknown seed '3'; known: 1, 2"):
        run_study(tiny, out=tmp_path, choice=Choice(seeds=[1, 3]))


def test_what_a_killed_process_left_holds_nobody_up(studied: StudyResult, tiny: Study, tmp_path: Path) -> None:
    """A lock file without a process is no lock."""
    shutil.copytree(studied.folder.parent / "store", tmp_path / "store")
    place = StudyPaths(tmp_path, tiny.name)
    (place.folder / CELLS).mkdir(parents=True)
    for cell in cells_of(tiny):
        place.lock(cell).touch()

    assert run_study(tiny, out=tmp_path).results_table == studied.results_table
    assert not list((place.folder / CELLS).glob(".*"))
