"""What is made before the stages that cost more than seconds: the splits, the tokenizer, the examples that fit.

The fields of all later stages, and so their keys, follow from these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.config.model_sections import PretrainedTeacher
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.errors import DataError, shortened
from understudy.evaluation.metrics import result_name
from understudy.executors.local import Local
from understudy.models.checkpoint_checks import RoundTrip
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.context import RunContext, resolve_precision
from understudy.pipeline.metric_settings import metric_settings, needs_likelihood
from understudy.pipeline.model_sources import TokenizerSource, Tokens
from understudy.pipeline.stages.benchmark import BenchmarkSettings
from understudy.pipeline.stages.data import DataStage, data_source
from understudy.pipeline.stages.examples import ExamplesFacts, ExamplesStage, labels_content, scored_content
from understudy.pipeline.stages.metric_choice import metric_choice, with_metrics
from understudy.pipeline.stages.scores import ScoringSettings
from understudy.pipeline.stages.training import DevSettings, TrainingSettings
from understudy.pipeline.stages.vocabulary import VocabularyStage
from understudy.store import Content


@dataclass(frozen=True)
class PreparedTask:
    """A recipe with the stages that were made first, from which all others are derived."""

    recipe: Recipe
    data: DataStage
    teacher_examples: ExamplesStage
    """What the teacher can read completely."""
    teacher_facts: ExamplesFacts
    examples: ExamplesStage
    """What teacher and student can read completely."""
    facts: ExamplesFacts
    student: TokenizerSource
    """How the student reads."""
    tokens: Tokens
    """Those of the teacher, which a student built from sizes shares if it has none of its own."""
    likelihood: bool
    """Whether a metric needs the likelihood of references."""

    @property
    def limits(self) -> TextLimits:
        """The prompt and the limits in tokens."""
        return text_limits(self.recipe)

    @property
    def student_checkpoint(self) -> Tokens:
        """A pretrained student's checkpoint, before its vocabulary is trimmed."""
        tokens = self.student.tokens
        return tokens.whole.tokens if isinstance(tokens, VocabularyStage) else tokens

    @property
    def trimmed_student(self) -> VocabularyStage | None:
        """The student's own trimmed tokenizer; None if it is whole, or the teacher's."""
        requested = getattr(self.recipe.student, "vocab_size", None)
        own = self.student.tokens
        return own if requested and isinstance(own, VocabularyStage) else None

    @property
    def vocabularies(self) -> tuple[tuple[str, VocabularyStage], ...] | None:
        """System -> its trimmed tokenizer; None where none is trimmed. A student that shares the teacher's has none."""
        teachers = self.tokens if isinstance(self.recipe.teacher, PretrainedTeacher) else None
        named = {"teacher": teachers, "student": self.trimmed_student}
        return tuple((name, own) for name, own in named.items() if isinstance(own, VocabularyStage)) or None

    @property
    def has_labels(self) -> bool:
        """Whether there is gold to learn."""
        return self.facts.counts["labeled"] > 0

    def labels(self) -> Content:
        """What a student learns gold from, with dev."""
        return labels_content(self.examples, self.facts, "labeled", "dev")

    def teacher_labels(self, *, with_withheld: bool) -> Content:
        """What a teacher learns gold from, with dev."""
        splits = ("labeled", "withheld", "dev") if with_withheld else ("labeled", "dev")
        return labels_content(self.teacher_examples, self.teacher_facts, *splits)

    def scored(self) -> Content:
        """Dev and test."""
        return scored_content(self.examples, self.facts, "dev", "test")

    def training(self, training: Training, *, seed: int) -> TrainingSettings:
        """The settings of a training of this recipe."""
        recipe = self.recipe
        evaluation, metric = recipe.evaluation, recipe.task.primary_metric
        dev = DevSettings(
            result_name(metric),
            metric_settings(recipe.task, [metric]),
            evaluation.dev_decoding,
            evaluation.dev_inputs,
            recipe.engine,
        )
        return TrainingSettings(training, seed, resolve_precision(recipe.precision), self.limits, dev)

    def scoring(self) -> ScoringSettings:
        """How systems are scored."""
        recipe, task = self.recipe, self.recipe.task
        settings = metric_settings(task, task.metrics)
        return ScoringSettings(
            tuple(map(result_name, task.metrics)),
            result_name(task.primary_metric),
            settings,
            recipe.evaluation.resamples,
            recipe.seed,
            recipe.name,
        )

    def benchmark(self) -> BenchmarkSettings:
        """How systems are timed."""
        own = self.recipe.evaluation
        return BenchmarkSettings(own.decoding, own.latency_inputs, own.batch_inputs, own.repeats)


def require_inputs(recipe: Recipe, facts: ExamplesFacts) -> None:
    """Refuses a task that has no inputs of the kinds that pseudo-targets are for.

    Raises:
        DataError: if there is none.
    """
    kinds, targets = recipe.pseudo_targets.inputs, recipe.distil.targets
    if (targets.teacher or targets.student) and not any(facts.counts[kind] for kind in kinds):
        raise DataError(
            f"pseudo_targets.inputs names {' and '.join(kinds)} inputs, and the task has none of them; name those it "
            "has, labeled or unlabeled, or give task.files the file"
        )


def text_limits(recipe: Recipe) -> TextLimits:
    """The prompt and the limits in tokens of a recipe's task."""
    task = recipe.task
    return TextLimits(
        task.prompt,
        task.max_source_tokens,
        task.max_target_tokens,
        task.system,
        keep_reasoning=task.keep_reasoning or None,
    )


def data_stage(recipe: Recipe) -> DataStage:
    """The stage of the splits of a recipe."""
    return DataStage(data_source(recipe.task), recipe.task.leaks, recipe.seed)


def examples_stage(
    recipe: Recipe,
    data: DataStage,
    context: RunContext,
    *tokenizers: TokenizerSource,
    teacher_limits: TextLimits | None = None,
) -> ExamplesStage:
    """The stage of the examples that these tokenizers can read completely, the first one with the teacher's prompt."""
    return ExamplesStage(
        data,
        tuple(dict.fromkeys(tokenizers)),
        text_limits(recipe),
        recipe.task.long_sources,
        with_likelihood=needs_likelihood(recipe.task, allow_code=context.allow_code),
        teacher_limits=teacher_limits,
    )


def prepared_task(
    recipe: Recipe,
    context: RunContext,
    of_teacher: ExamplesStage,
    of_both: ExamplesStage,
    student: TokenizerSource,
    tokens: Tokens,
) -> PreparedTask:
    """Makes the examples that teacher and student can read, and puts them together with the recipe.

    The recipe then names the metrics that the references can be scored by.
    """
    store = context.store
    facts_of_teacher, facts = store.get(of_teacher, Local(), context), store.get(of_both, Local(), context)
    recipe = with_metrics(recipe, store.get(metric_choice(recipe, of_both), Local(), context))
    likelihood = needs_likelihood(recipe.task, allow_code=context.allow_code)
    task = PreparedTask(recipe, of_both.data, of_teacher, facts_of_teacher, of_both, facts, student, tokens, likelihood)
    require_inputs(recipe, task.facts)
    if context.strict:
        for sentence in changed_targets(task.facts.round_trips):
            raise DataError(f"{sentence}; use another model, or run without --strict")
    return task


def changed_targets(found: Sequence[RoundTrip]) -> list[str]:
    """One sentence for each tokenizer that changes targets, so that its model cannot write them as they are."""
    return [
        f"the tokenizer changes {trip.changed} of {trip.checked} targets, so that its model can never write them: "
        f"{shortened(trip.text)} becomes {shortened(trip.decoded)}"
        for trip in dict.fromkeys(found)
        if trip.changed
    ]
