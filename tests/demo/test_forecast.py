import pytest

from understudy.demo.forecast import bulletins, forecast_task
from understudy.demo.forecast_record import parse_forecast
from understudy.errors import DataError
from understudy.records import TaskData
from understudy.tasks.guards import find_leaks


def sources(data: TaskData) -> set[str]:
    """The training sources."""
    return {example.source for example in (*data.labeled, *data.unlabeled)}


def test_splits_have_the_requested_sizes() -> None:
    """Train inputs have one bulletin, dev and test inputs several different ones, and no input occurs twice."""
    data = forecast_task(labeled=60, unlabeled=80, dev=10, test=20, references=4, seed=1)

    assert (len(data.labeled), len(data.unlabeled), len(data.dev), len(data.test)) == (60, 80, 10, 20)
    assert len(sources(data)) == 140
    assert all(len(example.targets) == 1 for example in (*data.labeled, *data.withheld))
    assert all(len(set(example.targets)) == 4 for example in (*data.dev, *data.test))


def test_withheld_examples_are_the_unlabeled_inputs_with_their_bulletins() -> None:
    """They have the same ids and sources in the same order; the inputs themselves have no target."""
    data = forecast_task(labeled=1, unlabeled=30, dev=1, test=1, seed=1)

    assert [(example.id, example.source) for example in data.withheld] == [
        (example.id, example.source) for example in data.unlabeled
    ]
    assert not any(example.targets for example in data.unlabeled)


def test_the_same_seed_gives_the_same_data() -> None:
    """Another seed gives other data."""
    sizes = {"labeled": 20, "unlabeled": 20, "dev": 5, "test": 5}

    assert forecast_task(**sizes, seed=3) == forecast_task(**sizes, seed=3)
    assert not sources(forecast_task(**sizes, seed=3)) & sources(forecast_task(**sizes, seed=4))


def test_larger_sizes_extend_smaller_ones() -> None:
    """The size of a split changes no example of any split."""
    small = forecast_task(labeled=10, unlabeled=10, dev=5, test=5, references=2, seed=7)
    large = forecast_task(labeled=90, unlabeled=10, dev=8, test=5, references=3, seed=7)

    assert large.labeled[:10] == small.labeled
    assert large.unlabeled == small.unlabeled
    assert [example.source for example in large.dev[:5]] == [example.source for example in small.dev]
    assert [example.targets[:2] for example in large.test] == [example.targets for example in small.test]


def test_no_seed_trains_on_the_test_inputs_of_another() -> None:
    """The split of a forecast does not depend on the seed, so nothing leaks between seeds."""
    train, other = (forecast_task(labeled=2000, unlabeled=0, dev=0, test=500, seed=seed) for seed in (1, 2))

    assert find_leaks(TaskData(train.labeled, (), (), other.test)) == []
    assert find_leaks(train) == []


@pytest.mark.parametrize("sizes", [{"labeled": -1, "references": 3}, {"labeled": 5, "references": 0}])
def test_impossible_sizes_are_refused(sizes: dict[str, int]) -> None:
    """The message has the sizes and the smallest possible ones."""
    with pytest.raises(DataError, match=rf"{sizes['labeled']}.*{sizes['references']} references.*at least 0 inputs"):
        forecast_task(unlabeled=1, dev=1, test=1, seed=0, **sizes)


def test_more_bulletins_than_can_be_found_are_refused() -> None:
    """The search ends; the message has the number that was found."""
    short = parse_forecast("Norvik Friday | temp 3 to 9 | morning cloudy N 15")

    with pytest.raises(DataError, match=r"^900 different bulletins .*, \d+ were found.*fewer references"):
        bulletins(short, 900, seed=0, tries=1)
