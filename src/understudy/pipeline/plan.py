"""What a run will take, before it is started: no weights are loaded, nothing is trained and no request is sent."""

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from understudy.config.recipe import Recipe
from understudy.pipeline.build import build_run
from understudy.pipeline.calibration import machine_speed
from understudy.pipeline.context import RunContext, run_context
from understudy.pipeline.delivery import labeled_stages
from understudy.pipeline.plan_estimates import Estimate, estimate_of
from understudy.pipeline.planner import planner_of
from understudy.pipeline.stages.api_responses import ApiResponsesStage
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.stages.predictions import SCORED_SPLITS
from understudy.pipeline.teacher_outputs import endpoint_of, requests_before
from understudy.progress import NoProgress, Progress

QUIET = NoProgress()
CHARACTERS_PER_TOKEN = 4
"""Of an API teacher, whose tokenizer is not here."""
SECONDS_PER_RESPONSE = 2.0


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a run, by the label that it has in the run's folder."""

    label: str
    cached: bool
    estimate: Estimate
    note: str = ""


def plan(
    recipe: Recipe, *, out: str | Path = "runs", progress: Progress = QUIET, allow_code: bool = False
) -> list[PlannedStage]:
    """The stages of a run with what they take; only those that take seconds are made.

    Args:
        recipe: what is planned.
        out: the folder of the runs, whose store says what is cached.
        progress: is informed about long work.
        allow_code: whether code that the recipe names (`module:object`) may be imported.

    Raises:
        UnderstudyError: if a guard rail refuses the recipe, its data or its models.
    """
    context = run_context(Path(out), progress, allow_code=allow_code, endpoint=endpoint_of(recipe))
    requests = requests_before(recipe, context)
    if requests is not None:
        return [_requests(*requests, context)]
    stages = build_run(recipe, context)
    speed = machine_speed(progress)
    planner = planner_of(stages.task, stages.scores, context, speed)
    return [
        PlannedStage(label, context.store.finished(stage), estimate_of(stage, planner), speed.caveat)
        for label, stage in labeled_stages(stages).items()
    ]


def _requests(examples: ExamplesStage, responses: ApiResponsesStage, context: RunContext) -> PlannedStage:
    """What an API teacher will be asked and paid for; its tokens are estimated from characters."""
    endpoint, folder = context.endpoint, context.folder(examples)
    assert endpoint is not None  # noqa: S101 - an API teacher has one
    asked = [(str(kind), endpoint.per_input) for kind in responses.inputs]
    asked += [(split, 2 if split in responses.references_by_teacher else 1) for split in SCORED_SPLITS]
    prompt = len((endpoint.system or "") + endpoint.prompt)
    texts = inputs = 0
    read = 0.0
    for split, each in asked:
        rows = load_split(folder, split)
        inputs, texts = inputs + len(rows), texts + each * len(rows)
        requests = math.ceil(each / endpoint.per_request)
        read += requests * sum(prompt + len(row.source) for row in rows) / CHARACTERS_PER_TOKEN
    gold = [len(target) for row in load_split(folder, "labeled") for target in row.targets]
    length = mean(gold) / CHARACTERS_PER_TOKEN if gold else endpoint.max_tokens
    written = texts * min(length, endpoint.max_tokens)
    price = endpoint.price
    return PlannedStage(
        responses.name,
        cached=False,
        estimate=Estimate(
            inputs=inputs,
            texts=texts,
            tokens=read + written,
            seconds=texts * SECONDS_PER_RESPONSE / endpoint.concurrency,
            disk_bytes=2 * CHARACTERS_PER_TOKEN * (read + written),
            money=(read * price.input + written * price.output) / 1e6 if price else None,
        ),
        note="tokens and minutes are guesses; what follows is planned once the responses are there",
    )


def total(stages: list[PlannedStage]) -> Estimate:
    """Of the stages that are not cached: sums, and the largest memory."""
    own = [one.estimate for one in stages if not one.cached]
    money = [one.money for one in own if one.money is not None]
    least = [one.seconds if one.least_seconds is None else one.least_seconds for one in own]
    stops = any(one.least_seconds is not None for one in own)
    return Estimate(
        texts=sum(one.texts for one in own),
        tokens=sum(one.tokens for one in own),
        steps=sum(one.steps for one in own),
        seconds=sum(one.seconds for one in own),
        least_seconds=sum(least) if stops else None,
        memory_bytes=max((one.memory_bytes for one in own), default=0.0),
        disk_bytes=sum(one.disk_bytes for one in own),
        money=math.fsum(money) if money else None,
    )
