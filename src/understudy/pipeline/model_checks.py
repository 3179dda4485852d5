"""Checks of teacher and student that need no weights, before either is trained."""

from collections.abc import Iterator, Sequence

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from understudy.config.model_sections import (
    AnyStudent,
    AnyTeacher,
    PretrainedStudent,
    PretrainedTeacher,
    PrunedStudent,
    ScratchStudent,
    ScratchTeacher,
    Teacher,
)
from understudy.config.recipe import Recipe
from understudy.config.training import Training
from understudy.config.vocabulary_conflicts import how_to_map_tokens, trimmed_apart
from understudy.errors import ModelError, VocabularyError
from understudy.models.adapters import adapted_layers, require_peft
from understudy.models.checkpoint import config_of, without_weights
from understudy.models.checkpoint_checks import refuse_unusable_checkpoint
from understudy.models.compilation import require_compiler
from understudy.models.feed_forward import narrower_config
from understudy.models.layers import marked_layers
from understudy.models.prune import kept_layers
from understudy.models.scratch import ARCHITECTURES, special_ids
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import load_tokenizer, refuse_different_tokens
from understudy.pipeline.context import RunContext, default_device
from understudy.pipeline.model_sources import Checkpoint, TokenizerSource, checkpoint_path, pretrained_checkpoint
from understudy.store import WorkerContext


def check_models(recipe: Recipe, teacher: TokenizerSource, student: TokenizerSource, context: RunContext) -> None:
    """Refuses a teacher and a student that cannot be trained on its outputs.

    Raises:
        ModelError: if a checkpoint is missing, the teacher lacks layers that a pruned student keeps, relations
            compare networks of different kinds, an adapter is for layers that a network lacks, or the bytes of tokens
            that are mapped are unknown.
        ConfigError: if peft is missing, or torch cannot compile layers.
        VocabularyError: if the objective compares with live logits of the teacher and the tokens differ.
    """
    for source in (teacher, student):
        if isinstance(source.tokens, Checkpoint) and source.scratch is None:
            refuse_unusable_checkpoint(checkpoint_path(source.tokens, context))
        elif isinstance(source.tokens, Checkpoint):
            special_ids(load_tokenizer(checkpoint_path(source.tokens, context)))  # a network is built for it
    _check_pruning(recipe, context)
    check_trainings(recipe, context)
    apart = trimmed_apart(recipe.teacher, recipe.student)
    if recipe.distil.needs_teacher_logits and (apart or teacher.tokens != student.tokens):
        _check_tokens(recipe, teacher, student, context)
    encoders = {"teacher": has_encoder(teacher, context), "student": has_encoder(student, context)}
    if recipe.distil.relations and encoders["teacher"] != encoders["student"]:
        kinds = {True: "an encoder-decoder", False: "decoder-only"}
        raise ModelError(
            f"distil.relations compares the attention of networks of one kind, but the teacher is "
            f"{kinds[encoders['teacher']]} and the student {kinds[encoders['student']]}; use two of one kind, or "
            "remove relations"
        )
    formats = (teacher.format or "separator", student.format or "separator")
    if recipe.distil.relations and not encoders["teacher"] and formats[0] != formats[1]:
        raise ModelError(
            "distil.relations compares the same positions of both networks, but the teacher reads a source in the form "
            f"{formats[0]!r} and the student in the form {formats[1]!r}; set teacher.template and student.template to "
            "one form, or remove relations"
        )


def has_encoder(source: TokenizerSource, context: WorkerContext) -> bool:
    """Whether the network that reads these tokens is an encoder-decoder."""
    if source.scratch:
        return source.scratch.has_encoder
    return bool(config_of(checkpoint_path(source.tokens, context)).is_encoder_decoder)


def check_trainings(recipe: Recipe, context: RunContext) -> None:
    """Refuses LoRA adapters that cannot be trained, and layers that cannot be compiled, before any network is trained.

    Raises:
        ModelError: if a checkpoint is missing, a network has no layer with a name of `target_modules`, or transformers
            marks no layers in it.
        ConfigError: if peft is missing, or torch cannot compile.
    """
    trainings = tuple(_trainings(recipe))
    if any(training.compile_layers for _, training in trainings):
        require_compiler(default_device())
    for model, training in trainings:
        needed = [name for name in ("gradient_checkpointing", "compile_layers") if getattr(training, name)]
        if training.lora:
            require_peft()
        if training.lora or needed:
            network = without_weights(_config(model, recipe, context))
            for name in needed:
                marked_layers(network, name)
            if training.lora:
                adapted_layers(network, training.lora)


def _trainings(recipe: Recipe) -> Iterator[tuple[AnyTeacher | AnyStudent, Training]]:
    """The trainings of a recipe, each with the section of its network."""
    student, teacher = recipe.student, recipe.teacher
    if isinstance(teacher, Teacher) and teacher.finetune:
        yield teacher, teacher.finetune
    for training in (student.finetune, recipe.training, recipe.distil.final_finetune):
        if training:
            yield (recipe.teacher if isinstance(student, PrunedStudent) else student), training


def _config(model: AnyTeacher | AnyStudent, recipe: Recipe, context: RunContext) -> PretrainedConfig:
    match model:
        case ScratchTeacher(scratch=scratch) | ScratchStudent(scratch=scratch):
            longest = recipe.task.max_source_tokens + recipe.task.max_target_tokens
            return ARCHITECTURES[scratch.architecture](scratch, longest)
        case PretrainedTeacher(model=name) | PretrainedStudent(model=name):
            return config_of(checkpoint_path(pretrained_checkpoint(name, context), context))
    raise AssertionError(model)  # an endpoint has no network here, and no student is pruned from one


def _check_pruning(recipe: Recipe, context: RunContext) -> None:
    if isinstance(recipe.student, PrunedStudent):
        requested, config = recipe.student.prune, _config(recipe.teacher, recipe, context)
        kept_layers(config, encoder_layers=requested.encoder_layers, decoder_layers=requested.decoder_layers)
        if requested.feed_forward:
            narrower_config(config, requested.feed_forward)


def _check_tokens(recipe: Recipe, teacher: TokenizerSource, student: TokenizerSource, context: WorkerContext) -> None:
    """Refuses tokens that cannot be compared; those of a tokenizer that is trained on the task always can."""
    loaded = [
        load_tokenizer(checkpoint_path(source.tokens, context)) if isinstance(source.tokens, Checkpoint) else None
        for source in (teacher, student)
    ]
    equal = loaded[0] and loaded[1] and loaded[0].get_vocab() == loaded[1].get_vocab()
    if equal and not trimmed_apart(recipe.teacher, recipe.student):
        return
    if recipe.distil.kept_tokens is not None:
        _require_bytes(loaded)
    elif loaded[0] and loaded[1]:
        refuse_different_tokens(*loaded, remedy=how_to_map_tokens(recipe.distil))
    else:
        raise VocabularyError(
            f"distil.teacher_logprobs is dense, which compares distributions over one vocabulary, but the teacher's "
            f"tokenizer is trained on the task and the student {checkpoint_path(student.tokens, context)!r} has its "
            f"own; {how_to_map_tokens(recipe.distil)}, build the student from scratch or prune it from the teacher, or "
            "use objective 'cross_entropy'"
        )


def _require_bytes(tokenizers: Sequence[PreTrainedTokenizerBase | None]) -> None:
    """Raise ModelError if the tokens of teacher or student have no bytes; None is a tokenizer of the task."""
    for role, tokenizer in zip(("teacher", "student"), tokenizers, strict=True):
        try:
            if tokenizer is not None:
                TokenBytes(tokenizer)
        except ModelError as error:
            raise ModelError(
                f"teacher and student have different tokens, which are mapped by their bytes, and those of the {role} "
                f"have none: {error}"
            ) from None
