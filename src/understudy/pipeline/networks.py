"""Which networks a run works with: tokenizers, the teacher's and the student's weights before training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.model_sections import (
    AnyTeacher,
    PretrainedStudent,
    PretrainedTeacher,
    PrunedStudent,
    Scratch,
    ScratchStudent,
    ScratchTeacher,
)
from understudy.config.recipe import Recipe
from understudy.errors import ModelError
from understudy.models.checkpoint import config_of, load_network
from understudy.models.prune import kept_layers, prune
from understudy.models.scratch import ARCHITECTURES, build_network
from understudy.models.tokenizers import load_tokenizer, refuse_different_tokens, train_tokenizer
from understudy.pipeline.bench import Bench
from understudy.pipeline.data import read_data
from understudy.pipeline.readers import Reader, reader_of_checkpoint, reader_of_scratch
from understudy.store import Finished
from understudy.store.disk import checksums

NETWORK = "network"
"""Folder of a stage that holds a network with its tokenizer, in the Hugging Face layout."""


@dataclass(frozen=True)
class Readers:
    """How teacher and student read the task."""

    teacher: Reader
    student: Reader

    @property
    def same_tokens(self) -> bool:
        """Whether the teacher's token ids are the student's."""
        return bool(self.teacher.tokenizer.get_vocab() == self.student.tokenizer.get_vocab())


def make_tokenizer(bench: Bench, data: Finished) -> Finished | None:
    """The stage that trains the task's tokenizer; None for a pretrained teacher, which has one."""
    teacher = bench.recipe.teacher
    if not isinstance(teacher, ScratchTeacher):
        return None

    def work(folder: Path) -> Mapping[str, object]:
        # Dev and test stay unseen: a tokenizer that knows their words would be a small leak.
        task = read_data(data)
        prompt = bench.recipe.task.prompt
        visible = (*task.labeled, *task.unlabeled, *(task.withheld if teacher.labels == "all" else ()))
        sources = (prompt.replace("{source}", example.source) for example in visible)
        targets = (target for example in visible for target in example.targets)
        tokenizer = train_tokenizer([*sources, *targets], vocab_size=teacher.vocab_size)
        tokenizer.save_pretrained(folder / NETWORK)
        return {"vocab_size": len(tokenizer)}

    settings = {"vocab_size": teacher.vocab_size, "labels": teacher.labels, "prompt": bench.recipe.task.prompt}
    return bench.store.stage("tokenizer", settings=settings, inputs={"data": data}, work=work)


def make_readers(bench: Bench, tokenizer: Finished | None) -> Readers:
    """How both networks read, after the one check that needs no weights: do they share the tokens they must share?

    Raises:
        ModelError: if a checkpoint is not there, or the teacher lacks the layers that a pruned student is to keep.
        VocabularyError: if the objective compares distributions and the tokens differ.
    """
    recipe = bench.recipe
    if isinstance(recipe.teacher, ScratchTeacher):
        assert tokenizer is not None  # noqa: S101 - make_tokenizer made it
        own = load_tokenizer(str(tokenizer.folder / NETWORK))
        teacher = reader_of_scratch(recipe.task, recipe.teacher.scratch, own)
    else:
        assert isinstance(recipe.teacher, PretrainedTeacher)  # noqa: S101 - an endpoint has no tokens that we know
        teacher = reader_of_checkpoint(recipe.task, recipe.teacher.model)
    match recipe.student:
        case PretrainedStudent(model=name):
            student = reader_of_checkpoint(recipe.task, name)
        case ScratchStudent(scratch=scratch):
            student = reader_of_scratch(recipe.task, scratch, teacher.tokenizer)
        case PrunedStudent(prune=asked):
            student = teacher
            config = _config_of(recipe.teacher, teacher)
            kept_layers(config, encoder_layers=asked.encoder_layers, decoder_layers=asked.decoder_layers)
    if recipe.distil.needs_teacher_logits:
        refuse_different_tokens(teacher.tokenizer, student.tokenizer)
    if recipe.distil.relations:
        _refuse_unrelated(teacher, student)
    return Readers(teacher, student)


def _config_of(teacher: AnyTeacher, reader: Reader) -> PretrainedConfig:
    """The teacher's, before there is a network."""
    if isinstance(teacher, ScratchTeacher):
        return ARCHITECTURES[teacher.scratch.architecture](teacher.scratch, reader.longest)
    assert isinstance(teacher, PretrainedTeacher)  # noqa: S101 - an endpoint has no network that we know
    return config_of(teacher.model)


def _refuse_unrelated(teacher: Reader, student: Reader) -> None:
    """Lets pass only networks of one kind, before either is trained: relations compare layer with layer.

    Raises:
        ModelError: if one has an encoder and the other has none.
    """
    if teacher.is_encoder_decoder != student.is_encoder_decoder:
        kinds = {True: "an encoder-decoder", False: "decoder-only"}
        raise ModelError(
            f"distil.relations compares the attention of networks of one kind, but the teacher is "
            f"{kinds[teacher.is_encoder_decoder]} and the student {kinds[student.is_encoder_decoder]}; use two of one "
            "kind, or leave relations out"
        )


def starting_teacher(bench: Bench, reader: Reader) -> PreTrainedModel:
    """The teacher before it is fine-tuned."""
    teacher = bench.recipe.teacher
    if isinstance(teacher, ScratchTeacher):
        return _built(teacher.scratch, reader, seed=bench.recipe.seed)
    assert isinstance(teacher, PretrainedTeacher)  # noqa: S101 - an endpoint has no network that we know
    return load_network(teacher.model)


def starting_student(bench: Bench, reader: Reader, teacher: Finished) -> PreTrainedModel:
    """The student before it learns anything."""
    match bench.recipe.student:
        case PretrainedStudent(model=name):
            return load_network(name)
        case ScratchStudent(scratch=scratch):
            return _built(scratch, reader, seed=bench.recipe.seed_of_students)
        case PrunedStudent(prune=asked):
            whole = load_network(str(teacher.folder / NETWORK))
            return prune(
                whole,
                encoder_layers=asked.encoder_layers,
                decoder_layers=asked.decoder_layers,
            )


def identity(name_or_path: str) -> object:
    """What a pretrained checkpoint is known by: a local one by its contents, one of the hub by its name."""
    folder = Path(name_or_path)
    return checksums(folder) if folder.is_dir() else name_or_path


def student_settings(recipe: Recipe) -> dict[str, object]:
    """What a student is before it learns."""
    settings: dict[str, object] = {"student": recipe.student.model_dump(exclude={"finetune"})}
    if isinstance(recipe.student, PretrainedStudent):
        settings["identity"] = identity(recipe.student.model)
    if isinstance(recipe.student, ScratchStudent) and isinstance(recipe.teacher, PretrainedTeacher):
        settings["tokens"] = identity(recipe.teacher.model)
    return settings


def _built(scratch: Scratch, reader: Reader, *, seed: int) -> PreTrainedModel:
    return build_network(scratch, reader.tokenizer, max_positions=reader.longest, seed=seed)


def tokenizer_of(stage: Finished) -> PreTrainedTokenizerBase:
    """The tokenizer a stage's network was saved with."""
    return load_tokenizer(str(stage.folder / NETWORK))
