"""Tokenizers: training one on a task's texts, loading one, and checking that two are the same.

How texts are encoded as sources and targets is in `text`.
"""

import string
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import is_sentencepiece_available

from understudy.errors import ModelError, VocabularyError, first_line
from understudy.models.generation_format import has_file

SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
SENTENCEPIECE_FILES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "source.spm")
_SPACE = "▁"


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, max_length: int = 512) -> PreTrainedTokenizerFast:
    """A subword tokenizer of these texts: byte-pair encoding over words that include their leading space.

    Decoding reproduces any NFC-normalised text without outer spaces whose characters are ASCII or
    occur in `texts`. Every digit is its own piece, so that numbers can be copied. The characters of a
    special token within a text (such as `</s>` in HTML) are encoded as text.

    A unigram model is not used, because the library trains it with a different result each time.

    Args:
        texts: sources and targets, all that the tokenizer is trained on.
        vocab_size: the maximum size of the vocabulary, special tokens and characters included. It is
            smaller if no more pairs occur twice.
        max_length: recorded as the tokenizer's `model_max_length`.

    Raises:
        ModelError: if the characters alone are more than `vocab_size`.

    Source: Sennrich et al. 2016, §3.2 (arXiv:1508.07909).
    """
    backend = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"]))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(_SPACE), pre_tokenizers.Digits(individual_digits=True)]
    )
    backend.decoder = decoders.Metaspace(_SPACE)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=[*string.digits, *string.ascii_letters, *string.punctuation, "\n", _SPACE],
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    if backend.get_vocab_size() > vocab_size:
        raise ModelError(
            f"vocab_size is {vocab_size}, but the texts contain {backend.get_vocab_size()} different characters and "
            "special tokens, each of which needs its own piece; raise vocab_size, or remove rare characters from the "
            "texts"
        )
    end = SPECIAL_TOKENS["eos_token"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, backend.token_to_id(end))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        **SPECIAL_TOKENS,
    )


def load_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, by its name on the hub or its local folder.

    Raises:
        ModelError: if there is none, or it cannot be read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, trust_remote_code=False)
    except Exception as error:  # whatever transformers meets in a damaged file
        _refuse_missing_package(name_or_path, error)
        raise ModelError(
            f"cannot load a tokenizer from {name_or_path!r}: {first_line(error)}; give a name on the hub, or a "
            "folder that holds tokenizer.json and tokenizer_config.json"
        ) from error
    # Without any of its files, transformers 5 makes a tokenizer of the special tokens alone: all text is unknown to it.
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()} if tokenizer.vocab_files_names else set()
    if files and not any(has_file(name_or_path, file) for file in files):
        raise ModelError(
            f"{name_or_path!r} has no tokenizer files; found none of {', '.join(sorted(files))}; save the model's "
            "tokenizer there, or give a checkpoint with one"
        )
    return tokenizer


def _refuse_missing_package(name_or_path: str, error: Exception) -> None:
    """Raise ModelError if the error comes from a package that is not installed."""
    pieces = any(has_file(name_or_path, file) for file in SENTENCEPIECE_FILES)
    if pieces and not is_sentencepiece_available():
        # Without it transformers takes the file for one of tiktoken, and asks for that package.
        raise ModelError(
            f"the tokenizer of {name_or_path!r} is a SentencePiece model, and the package that reads it is missing; "
            "install it: pip install sentencepiece"
        ) from error
    if isinstance(error, ImportError):
        raise ModelError(
            f"the tokenizer of {name_or_path!r} needs a package that is not installed: {first_line(error)}; install "
            "it, or give a checkpoint with a tokenizer.json"
        ) from error


def refuse_different_tokens(
    teacher_tokenizer: PreTrainedTokenizerBase,
    student_tokenizer: PreTrainedTokenizerBase,
    *,
    remedy: str = "set teacher_logprobs={kind: sparse}",
) -> None:
    """Check that two tokenizers have the same ids for the same tokens.

    The number of rows of the embeddings may differ.

    Args:
        teacher_tokenizer: of the teacher.
        student_tokenizer: of the student.
        remedy: what the message says to do first.

    Raises:
        VocabularyError: with the number of tokens that differ and some of them.
    """
    teacher, student = teacher_tokenizer.get_vocab(), student_tokenizer.get_vocab()
    different = sorted(token for token in teacher.keys() | student.keys() if teacher.get(token) != student.get(token))
    if different:
        shown = ", ".join(
            f"{token!r} (teacher {teacher.get(token, 'none')}, student {student.get(token, 'none')})"
            for token in different[:3]
        )
        raise VocabularyError(
            f"distil.teacher_logprobs is dense, which compares distributions over one vocabulary, but {len(different)} "
            f"of {len(teacher.keys() | student.keys())} tokens have different ids in teacher and student: {shown}; "
            f"{remedy}, or use objective 'cross_entropy', or a student with the teacher's tokenizer"
        )
