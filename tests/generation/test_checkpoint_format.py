"""The generation format of a checkpoint is kept, its taste dropped; both engines agree with transformers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as tf
from transformers import AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Decoding, Greedy, Sampling
from understudy.generation import Engine, open_engine
from understudy.generation.hf import evaluated_settings
from understudy.models.checkpoint import load_network, save_network
from understudy.models.generation_format import FORMAT_FIELDS, format_of

TASTE = {"num_beams": 4, "length_penalty": 2.0, "min_length": 10, "no_repeat_ngram_size": 3, "max_length": 12}
Sources = Callable[[PreTrainedModel], list[list[int]]]
Checkpoint = Callable[[str], Path]


def settings_of(folder: Path, **fields: object) -> None:
    """Writes a checkpoint's generation settings anew."""
    start = load_network(str(folder)).config.decoder_start_token_id if "t5" in str(folder) else None
    GenerationConfig(
        **{"eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": start} | fields
    ).save_pretrained(folder)


def opened(folder: Path, engine: str, generate: Callable[[Engine], object]) -> object:
    """What is generated with an engine of a checkpoint."""
    with open_engine(engine, folder, workspace=folder.parent / "conversions", threads=1) as own:
        return generate(own)


def reference(folder: Path, sources: list[list[int]], **settings: object) -> list[tuple[int, ...]]:
    """Each source alone with `generate` of the checkpoint, without the start token; ended by an end."""
    model = tf.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    rows = [model.generate(torch.tensor([source]), max_new_tokens=6, **settings)[0].tolist()[1:] for source in sources]
    return [tuple(row[: row.index(2) + 1] if 2 in row else row) for row in rows]


@pytest.mark.parametrize("decoding", [Greedy(), Beam(beams=3)])
def test_forbidden_and_forced_tokens_are_those_of_the_checkpoint(
    decoding: Decoding, *, checkpoint: Checkpoint, sources: Sources
) -> None:
    """As Marian and NLLB: the texts of `generate`, without the tokens of `bad_words_ids`, with the forced one first."""
    folder = checkpoint("marian")
    rows = sources(load_network(str(folder)))
    free = reference(folder, rows, num_beams=getattr(decoding, "beams", 1), do_sample=False, early_stopping=True)
    common = max(set(sum(free, ())) - {2}, key=sum(free, ()).count)
    settings_of(
        folder, bad_words_ids=[[common]], forced_bos_token_id=7, decoder_start_token_id=1, suppress_tokens=[80, 81, 82]
    )
    expected = reference(folder, rows, num_beams=getattr(decoding, "beams", 1), do_sample=False, early_stopping=True)
    texts = opened(folder, "hf", lambda own: own.generate(rows, decoding, max_tokens=6))

    assert [text.token_ids for (text,) in texts] == expected  # type: ignore[attr-defined]
    assert all(row[0] == 7 and common not in row for row in expected)


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_both_engines_force_and_forbid_alike(family: str, *, checkpoint: Checkpoint, sources: Sources) -> None:
    """CTranslate2 gives the texts and log-probabilities of hf for a checkpoint with forced and forbidden tokens."""
    folder = checkpoint(family)
    rows = sources(load_network(str(folder)))
    settings_of(folder, bad_words_ids=[[5], [6, 7]], suppress_tokens=[8], forced_bos_token_id=9)
    hf, fast = (
        opened(folder, engine, lambda own: own.generate(rows, Greedy(), max_tokens=6))
        for engine in ("hf", "ctranslate2")
    )

    assert [text.token_ids for (text,) in hf] == [text.token_ids for (text,) in fast]  # type: ignore[attr-defined]


def test_any_end_of_the_checkpoint_ends_a_text(
    checkpoint: Checkpoint, sources: Sources, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Llama 3 and Gemma have several; the text carries the tokenizer's own, in both engines."""
    folder = checkpoint("llama")
    rows = sources(load_network(str(folder)))
    free = opened(folder, "hf", lambda own: own.generate(rows, Greedy(), max_tokens=6))
    other = free[0][0].token_ids[2]  # type: ignore[index]
    settings_of(folder, eos_token_id=[2, other])
    for engine in ("hf", "ctranslate2"):
        texts = opened(folder, engine, lambda own: own.generate(rows, Greedy(), max_tokens=6))
        for (before,), (after,) in zip(free, texts, strict=True):  # type: ignore[call-overload]
            ends = [i for i, token_id in enumerate(before.token_ids) if token_id in {2, other}]
            expected = (*before.token_ids[: ends[0]], tokenizer.eos_token_id) if ends else before.token_ids
            assert after.token_ids == expected


@pytest.mark.parametrize("engine", ["hf", "ctranslate2"])
@pytest.mark.parametrize("decoding", [Greedy(), Beam(beams=2), Sampling(top_k=0, top_p=1.0), Sampling()])
@pytest.mark.parametrize("family", ["bart", "gpt2"])
def test_rows_without_a_token_are_never_generated(
    engine: str,
    decoding: Decoding,
    family: str,
    *,
    network: Callable[[str], PreTrainedModel],
    sources: Sources,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
) -> None:
    """Also where they are the most probable ones, and the probability of the others sums to 1 without them."""
    model = network(family)
    embeddings = model.get_output_embeddings().weight.data
    embeddings[len(tokenizer) :] = embeddings[:3] * 3.0
    save_network(model, tokenizer, tmp_path / "checkpoint")
    several = 8 if isinstance(decoding, Sampling) else 1
    rows = sources(model)
    texts = opened(
        tmp_path / "checkpoint",
        engine,
        lambda own: own.generate(rows, decoding, per_source=several, max_tokens=8, seed=1),
    )
    generated = [text for of in texts for text in of]  # type: ignore[attr-defined]

    assert len(generated) == several * len(rows)
    assert max(max(text.token_ids) for text in generated) < len(tokenizer)


def test_taste_is_dropped_and_format_kept(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase) -> None:
    """Also where the settings of the checkpoint contradict each other, which transformers refuses to save."""
    folder = checkpoint("bart")
    settings_of(folder, decoder_start_token_id=1, forced_bos_token_id=7, **TASTE)
    model = load_network(str(folder))
    model.generation_config.temperature = 0.5  # with do_sample false
    save_network(model, tokenizer, folder.parent / "again")
    saved = GenerationConfig.from_pretrained(folder.parent / "again")

    assert not {*TASTE, "temperature"} & saved.to_diff_dict().keys()
    assert (saved.forced_bos_token_id, saved.eos_token_id, saved.decoder_start_token_id) == (7, 2, 1)
    assert set(format_of(saved).to_diff_dict()) <= {*FORMAT_FIELDS, "transformers_version"}


@pytest.mark.parametrize("family", ["bart", "gpt2"])
@pytest.mark.parametrize("decoding", [Greedy(), Beam(beams=3, length_penalty=0.5)])
def test_generate_alone_gives_the_evaluated_texts(
    family: str, decoding: Decoding, *, checkpoint: Checkpoint, sources: Sources
) -> None:
    """With the settings that are delivered, `generate` of a loaded checkpoint needs no arguments."""
    folder = checkpoint(family)
    rows = sources(load_network(str(folder)))
    texts = opened(folder, "auto", lambda own: own.generate(rows, decoding, max_tokens=24))
    evaluated_settings(folder, decoding, max_tokens=24).save_pretrained(folder)
    kind = tf.AutoModelForSeq2SeqLM if family == "bart" else tf.AutoModelForCausalLM
    alone, tokenizer = kind.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for source, (text,) in zip(rows, texts, strict=True):  # type: ignore[call-overload]
        row = alone.generate(torch.tensor([source]))[0, 1 if family == "bart" else len(source) :].tolist()
        assert tokenizer.decode(row, skip_special_tokens=True) == tokenizer.decode(
            text.token_ids, skip_special_tokens=True
        )
