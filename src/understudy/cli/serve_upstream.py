"""The options of the command serve about the teacher's endpoint, as settings of a server."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli.options import check_variable
from understudy.errors import ConfigError

if TYPE_CHECKING:
    from understudy.serving.routing import Deferral, UpstreamSettings
    from understudy.serving.shadow import ShadowSettings

AUTO = "auto"
QUALITY = 0.98
SHARE = 0.1
"""Of the requests that both systems answer."""


@dataclass(frozen=True)
class TeacherOptions:
    """The endpoint, as given: what is None is as the run has it."""

    model: str | None
    key: str | None
    overrides: Sequence[str]
    budget: float | None
    requests: int | None
    ledger: Path | None


@dataclass(frozen=True)
class ShadowOptions:
    """Which requests both systems answer, as given."""

    url: str | None
    share: float
    answers: str
    out: Path | None


@dataclass(frozen=True)
class DeferOptions:
    """Which requests are deferred, as given."""

    url: str | None
    threshold: str
    quality: float


def upstream_settings(
    folder: Path, system: str, defer: DeferOptions, shadow: ShadowOptions, teacher: TeacherOptions
) -> "UpstreamSettings | None":
    """The settings of the teacher's endpoint; None where the student answers alone.

    Raises:
        ConfigError: for options that contradict each other, settings that are missing, or a key that is not set.
    """
    url = _address(defer, shadow, teacher)
    if url is None:
        return None
    check_variable("--teacher-key", teacher.key, "OPENAI_API_KEY")
    if find_spec("openai") is None:
        raise ConfigError("an endpoint needs the openai client, which is not installed; install understudy[openai]")
    from understudy.api_teacher.client import read_key
    from understudy.pipeline.inspect.deploy import teacher_endpoint
    from understudy.serving.ledger import Ledger
    from understudy.serving.routing import UpstreamSettings
    from understudy.serving.upstream import TeacherSettings

    given = {"model": teacher.model, "key": teacher.key, "budget": teacher.budget}
    changes = {name: value for name, value in given.items() if value is not None}
    endpoint = teacher_endpoint(folder, url, changes, teacher.overrides)
    read_key(endpoint)
    if teacher.ledger is not None:
        _refuse_unwritable("--ledger", teacher.ledger)
    Ledger(teacher.ledger, system).close()  # refused here, before processes start
    return UpstreamSettings(
        TeacherSettings(endpoint, teacher.requests, teacher.ledger),
        deferral=None if defer.url is None else _deferral(folder, system, defer),
        shadow=None if shadow.url is None else _shadow(shadow),
    )


def shown(settings: "UpstreamSettings") -> str:
    """Which system answers what, as a sentence."""
    endpoint, deferral, shadow = settings.teacher.endpoint, settings.deferral, settings.shadow
    sentences = []
    if deferral is not None:
        note = f"; {deferral.note}" if deferral.note else ""
        sentences.append(f"answers sources whose probability is below {deferral.threshold:.3g}{note}")
    if shadow is not None:
        share = f"{shadow.share:.0%} of the requests"
        by_teacher = f"answers all requests, and the student {share} too"
        sentences.append(by_teacher if shadow.answers == "teacher" else f"answers {share} too, for comparison")
    return f"{endpoint.model} {' and '.join(sentences)}"


def _address(defer: DeferOptions, shadow: ShadowOptions, teacher: TeacherOptions) -> str | None:
    """The endpoint's address; None if no option names one."""
    urls = {url for url in (defer.url, shadow.url) if url is not None}
    if len(urls) > 1:
        raise ConfigError(f"--defer is {defer.url} and --shadow is {shadow.url}; give one endpoint for both")
    if shadow.answers not in {"teacher", "student"}:
        raise ConfigError(f"--shadow-answers is {shadow.answers!r}; give teacher or student")
    if defer.url is not None and shadow.url is not None and shadow.answers == "teacher":
        raise ConfigError(
            "--shadow has the teacher answer every request, so there is nothing to defer; leave --defer out, or add "
            "--shadow-answers student"
        )
    _refuse_unused(defer, shadow, teacher)
    return next(iter(urls), None)


def _refuse_unused(defer: DeferOptions, shadow: ShadowOptions, teacher: TeacherOptions) -> None:
    """Refuses options that would change nothing: who gives a budget expects it to hold.

    Raises:
        ConfigError: naming them, and what they need.
    """
    of_quality = {"--quality": defer.quality != QUALITY}
    of_deferring = {"--threshold": defer.threshold != AUTO, **of_quality}
    of_shadow = {
        "--shadow-share": shadow.share != SHARE,
        "--shadow-answers": shadow.answers != "teacher",
        "--shadow-out": shadow.out is not None,
    }
    is_deferring, is_shadowing = defer.url is not None, shadow.url is not None
    endpoint = "for an endpoint; give its address with --defer or --shadow"
    needs = (
        (is_deferring or is_shadowing, endpoint, _of_endpoint(teacher)),
        (is_deferring, "about deferring; give --defer URL", of_deferring),
        (defer.threshold == AUTO, "about --threshold auto; leave one of the two out", of_quality),
        (is_shadowing, "about requests that both answer; give --shadow URL", of_shadow),
    )
    for met, need, options in needs:
        if not met and (unused := [name for name, given in options.items() if given]):
            raise ConfigError(f"{' and '.join(unused)} {'is' if len(unused) == 1 else 'are'} {need}")


def _of_endpoint(teacher: TeacherOptions) -> dict[str, bool]:
    """The options of an endpoint, and whether they were given."""
    return {
        "--teacher-model": teacher.model is not None,
        "--teacher-key": teacher.key is not None,
        "--teacher-set": bool(teacher.overrides),
        "--budget": teacher.budget is not None,
        "--budget-requests": teacher.requests is not None,
        "--ledger": teacher.ledger is not None,
    }


def _deferral(folder: Path, system: str, options: DeferOptions) -> "Deferral":
    from understudy.pipeline.inspect.deploy import confidence_of, no_confidence
    from understudy.serving.routing import Deferral

    found = confidence_of(folder, system)
    if options.threshold == AUTO:
        if found is None:
            raise ConfigError(f"{no_confidence(folder)}; or give a number from 0 to 1 with --threshold")
        point = found.point(options.quality)
        note = f"on dev {point.deferred:.0%} of them, for {point.quality:.1%} of the teacher's {found.metric}"
        return Deferral(point.threshold, found.calibration, note)
    try:
        threshold = float(options.threshold)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise ConfigError(f"--threshold is {options.threshold!r}; give auto, or a probability from 0 to 1")
    return Deferral(threshold, None if found is None else found.calibration)


def _shadow(options: ShadowOptions) -> "ShadowSettings":
    from understudy.serving.shadow import ShadowSettings

    if options.out is not None:
        _refuse_unwritable("--shadow-out", options.out)
    return ShadowSettings(options.share, "student" if options.answers == "student" else "teacher", options.out)


def _refuse_unwritable(option: str, file: Path) -> None:
    if file.is_dir() or not os.access(file.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} is {file}, which cannot be written; give a file in a folder of your own")
