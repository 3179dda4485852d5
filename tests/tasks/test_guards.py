import pytest

from understudy.errors import DataError
from understudy.records import Example, TaskData
from understudy.tasks.guards import Leak, describe, drop_leaks, drop_shared, find_leaks, refuse_leaks


def examples(split: str, *sources: str) -> tuple[Example, ...]:
    """The examples of one split."""
    return tuple(Example(f"{split}-{number}", source, ("t",)) for number, source in enumerate(sources, start=1))


def task(
    *,
    labeled: tuple[str, ...] = ("l",),
    unlabeled: tuple[str, ...] = (),
    dev: tuple[str, ...] = ("d",),
    test: tuple[str, ...] = ("t",),
    withheld: tuple[str, ...] = (),
) -> TaskData:
    """A task with these sources."""
    return TaskData(
        examples("labeled", *labeled),
        examples("unlabeled", *unlabeled),
        examples("dev", *dev),
        examples("test", *test),
        examples("unlabeled", *withheld),
    )


LEAKY = task(labeled=("l", "T"), unlabeled=("d", "u"), dev=("d", "e", "t"), test=("t", "x"), withheld=("d",))


def test_a_clean_task_has_no_leaks() -> None:
    """Nothing is found, refused or dropped."""
    clean = task(unlabeled=("u",), withheld=("u",))
    refuse_leaks(clean)

    assert find_leaks(clean) == []
    assert drop_leaks(clean) == clean


def test_leaks_are_found_in_every_training_split_and_between_dev_and_test() -> None:
    """Each held-out input is reported with each split that contains it, test first."""
    assert find_leaks(LEAKY) == [
        Leak("test", "test-1", "t", "labeled", "labeled-2"),
        Leak("test", "test-1", "t", "dev", "dev-3"),
        Leak("dev", "dev-1", "d", "unlabeled", "unlabeled-1"),
        Leak("dev", "dev-1", "d", "withheld", "unlabeled-1"),
        Leak("dev", "dev-3", "t", "labeled", "labeled-2"),
    ]


@pytest.mark.parametrize("copy", ["STRASSE 5", "straße  5", "\tStraße\n5 ", "straße\u00a05", "straße ⁵"])  # fmt: skip
def test_case_width_and_white_space_do_not_hide_leaks(copy: str) -> None:
    """Sources are compared after NFKC, case folding and collapsing of white space."""
    assert len(find_leaks(task(labeled=(copy,), test=("Straße 5",)))) == 1


def test_leaks_are_refused_with_counts_and_the_first_of_them() -> None:
    """The message has the count of each pair of splits, the first ids, and both remedies."""
    with pytest.raises(
        DataError,
        match=r"1 of test in labeled, 1 of test in dev, 1 of dev in unlabeled, 1 of dev in withheld, "
        r"1 of dev in labeled; .*test 'test-1', in labeled as 'labeled-2': 't'\. .*drop_from_train.*allow",
    ):
        refuse_leaks(LEAKY)


def test_a_long_source_is_shortened_in_the_message() -> None:
    """The message shows eighty characters."""
    with pytest.raises(DataError, match=r"'x{79}…'"):
        refuse_leaks(task(labeled=("x" * 500,), test=("x" * 500,)))


def test_dropping_leaks_leaves_none_and_keeps_test() -> None:
    """Dev loses the inputs of test, the training splits lose those of both."""
    assert drop_leaks(LEAKY) == TaskData(
        labeled=LEAKY.labeled[:1],
        unlabeled=LEAKY.unlabeled[1:],
        dev=LEAKY.dev[:2],
        test=LEAKY.test,
    )
    assert find_leaks(drop_leaks(LEAKY)) == []


def test_dropping_everything_is_refused() -> None:
    """A task whose labeled inputs are all in test has no training data left."""
    with pytest.raises(DataError, match=r"every input of labeled is held out.*drop_from_train"):
        drop_leaks(task(labeled=("t",)))


def test_a_shared_input_is_dropped_with_its_withheld_label() -> None:
    """Otherwise the teacher would be trained on the dropped input's label."""
    data, dropped = drop_shared(task(labeled=("l",), unlabeled=("L", "u"), withheld=("L", "u")))

    assert dropped == 1
    assert [example.source for example in data.unlabeled] == ["u"]
    assert [example.source for example in data.withheld] == ["u"]


def test_a_description_counts_inputs_targets_and_words() -> None:
    """Means are per text, not per input; a split without texts has mean 0."""
    data = TaskData((Example("1", "a b c", ("a", "b c")), Example("2", "a", ("a b c",))), (Example("3", "u"),), (), ())

    assert describe(data)["labeled"] == {"inputs": 2, "targets": 3, "source_words": 2.0, "target_words": 2.0}
    assert describe(data)["unlabeled"] == {"inputs": 1, "targets": 0, "source_words": 1.0, "target_words": 0.0}
    assert describe(data)["test"] == {"inputs": 0, "targets": 0, "source_words": 0.0, "target_words": 0.0}
