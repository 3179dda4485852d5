"""Which requests are refused because they would be answered too late."""

from contextlib import ExitStack, suppress

from understudy.serving.admission import LATEST, TOGETHER, Admission

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


def test_a_request_is_late_by_littles_law() -> None:
    """With an answer each second, the hundred-and-first request in the queue waits for 101 s."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    requests = [opened(admission, 1) for _ in range(200)]
    assert not admission.is_late  # nothing was answered yet, so no rate is known
    late = []
    for one in requests:
        clock.now += 1.0
        one.close()
        late.append(admission.is_late)

    assert late == [left > MOST_S for left in reversed(range(200))]
    assert admission.open == 0


def test_requests_of_one_batch_are_never_late() -> None:
    """A student that needs most of the time limit for one text answers a batch of them in the same time."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    with admission.answering():
        clock.now += 0.9 * TIMEOUT_S
    with opened(admission, TOGETHER - 1):
        assert not admission.is_late
        with admission.answering():
            assert admission.is_late


def test_time_without_requests_is_no_time_of_slow_answers() -> None:
    """After an idle time the pace is that of the requests before it, until the first answer."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    for _ in range(2):
        with admission.answering():
            clock.now += 1.0
        clock.now += 1000.0
    with opened(admission, int(MOST_S)):
        assert not admission.is_late  # at a second each
        with admission.answering():
            assert admission.is_late
            clock.now += 0.1
        assert not admission.is_late  # one answer in 0.1 s


def test_the_rate_is_that_of_the_latest_answers() -> None:
    """A server that became faster accepts again, long before its mean rate would say so."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    with opened(admission, TOGETHER):
        with admission.answering():
            clock.now += 1000.0
        assert admission.is_late
        for _ in range(256):
            with admission.answering():
                clock.now += 0.01
        assert not admission.is_late


def test_what_fails_is_no_answer() -> None:
    """A server that answers nothing in time is not a fast one."""
    clock = Clock()
    admission = Admission(TIMEOUT_S, clock)
    with opened(admission, TOGETHER):
        with admission.answering():
            clock.now += 8.0
        for _ in range(50):
            with suppress(TimeoutError), admission.answering():
                raise TimeoutError
        assert admission.is_late
