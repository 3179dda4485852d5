"""Which requests are refused because they would be answered too late."""

from contextlib import ExitStack, suppress

from understudy.serving.admission import LATEST, ONE_BATCH, RECENT, Admission

TIMEOUT_S = 400.0
MOST_S = LATEST * TIMEOUT_S


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def opened(admission: Admission, requests: int) -> ExitStack:
    """Requests that are being answered until the stack is closed."""
    stack = ExitStack()
    for _ in range(requests):
        stack.enter_context(admission.answering())
    return stack


def answer(admission: Admission, clock: Clock, requests: int, seconds: float) -> None:
    """One request after another is answered, each in so many seconds."""
    for _ in range(requests):
        with admission.answering():
            clock.now += seconds


def test_a_request_is_late_by_littles_law() -> None:
    """With an answer each second, the hundred-and-first request in the queue waits for 101 s."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    requests = [opened(admission, 1) for _ in range(200)]
    late = []
    for one in requests:
        clock.now += 1.0
        one.close()
        late.append(admission.is_late)

    expected = [left > MOST_S for left in reversed(range(200))]
    expected[: ONE_BATCH - 1] = [False] * (ONE_BATCH - 1)  # no rate is known yet
    assert late == expected
    assert admission.open == 0


def test_requests_of_one_batch_are_never_late() -> None:
    """A student that needs most of the time limit for one text answers a batch of them in the same time."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    with admission.answering():
        answer(admission, clock, ONE_BATCH, 0.9 * TIMEOUT_S)
    with opened(admission, ONE_BATCH - 1):
        assert not admission.is_late
        with admission.answering():
            assert admission.is_late


def test_the_first_answers_of_a_batch_are_no_rate() -> None:
    """64 clients whose requests are answered in one batch after 0.4 s send their next ones at once."""
    clock = Clock()
    admission = Admission(10.0, clock)
    requests = [opened(admission, 1) for _ in range(64)]
    clock.now += 0.4
    for _ in range(3):
        for number, one in enumerate(requests):
            one.close()
            assert not admission.is_late
            requests[number] = opened(admission, 1)
        clock.now += 0.4


def test_time_without_requests_is_no_time_of_slow_answers() -> None:
    """After an idle time the pace is that of the requests before it, until there are new answers."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    with admission.answering():
        answer(admission, clock, ONE_BATCH, 1.0)
    clock.now += 1000.0
    with opened(admission, int(MOST_S)):
        assert not admission.is_late  # 100 of them at 32/33 of a second
        with opened(admission, 4):
            assert admission.is_late
            answer(admission, clock, ONE_BATCH, 0.1)
            assert not admission.is_late


def test_the_rate_is_that_of_the_latest_answers() -> None:
    """A server that became faster accepts again, long before its mean rate would say so."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    with opened(admission, ONE_BATCH):
        answer(admission, clock, ONE_BATCH, 1000.0)
        assert admission.is_late
        answer(admission, clock, RECENT, 0.01)
        assert not admission.is_late


def test_what_fails_is_no_answer() -> None:
    """A server that answers nothing in time is not a fast one."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    with opened(admission, ONE_BATCH):
        answer(admission, clock, ONE_BATCH, 8.0)
        for _ in range(50):
            with suppress(TimeoutError), admission.answering():
                raise TimeoutError
        assert admission.is_late
