from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.tallied import tallied
from transformers import BertConfig, BertModel, BertTokenizerFast

from understudy.errors import EvaluationError
from understudy.evaluation.bert_encoder import Encoder, open_encoder
from understudy.evaluation.bertscore import EncoderCheckpoint
from understudy.records import Prediction

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat", "dog"]
PREDICTIONS = [
    Prediction("0", "", ("the cat sat on a mat", "a dog"), "a cat on the mat"),
    Prediction("1", "", ("the dog sat",), "the dog sat"),
    Prediction("2", "", ("the dog sat", "cat"), ""),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT with random weights and twelve words, on disk."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No test finds another's encoder."""
    yield
    open_encoder.cache_clear()


def slow_f1(encoder: Encoder, layer: int, text: str, reference: str) -> float:
    """One pair, token by token, without batches or padding."""
    read = [encoder.tokenizer(side, return_tensors="pt") for side in (text, reference)]
    with torch.inference_mode():
        own, other = (encoder.network(**side, output_hidden_states=True).hidden_states[layer][0] for side in read)

    def mean_best(mine: torch.Tensor, theirs: torch.Tensor) -> float:
        best = [max(float(F.cosine_similarity(x, y, dim=0)) for y in theirs) for x in mine[1:-1]]  # no [CLS], no [SEP]
        return sum(best) / len(best) if best else 0.0

    precision, recall = mean_best(own, other), mean_best(other, own)
    return 200 * precision * recall / (precision + recall) if precision and recall else 0.0


@pytest.mark.parametrize("layer", [0, 2, None])
def test_scores_are_those_of_a_loop_over_tokens(checkpoint: str, layer: int | None) -> None:
    """Neither batches nor padding change a score; the best reference counts, and an empty text scores nothing."""
    encoder = open_encoder(checkpoint, layer)
    place = 3 if layer is None else layer
    expected = [max(slow_f1(encoder, place, p.text, r) for r in p.references) for p in PREDICTIONS[:2]]
    result = tallied("bertscore", PREDICTIONS, EncoderCheckpoint(checkpoint, layer))

    assert result.per_example() == pytest.approx([*expected, 0.0], abs=1e-3)
    assert result.per_example()[1] == pytest.approx(100, abs=1e-3)


@pytest.mark.parametrize("layer", [1, 3])
def test_scores_are_those_of_the_bert_score_library(checkpoint: str, layer: int) -> None:
    """Zhang et al.'s own code, without idf weights and rescaling, over all texts of the twelve words' grammar."""
    from bert_score import score

    texts = [
        f"{article} {noun} {rest}"
        for article in ("the", "a")
        for noun in ("cat", "dog")
        for rest in ("sat", "on a mat")
    ]
    pairs = [Prediction(f"{a}/{b}", "", (b,), a) for a in texts for b in texts]
    _, _, expected_N = score(
        [pair.text for pair in pairs], [pair.references[0] for pair in pairs], model_type=checkpoint, num_layers=layer,
        device="cpu",
    )  # fmt: skip

    found = tallied("bertscore", pairs, EncoderCheckpoint(checkpoint, layer)).per_example()
    assert found == pytest.approx((100 * expected_N).tolist(), abs=1e-3)


def test_the_signature_names_the_encoder(checkpoint: str) -> None:
    """Another model or another layer is another metric."""
    signature = tallied("bertscore", PREDICTIONS, EncoderCheckpoint(checkpoint)).signature

    assert f"|model:{checkpoint}|layer:3|transformers:{version('transformers')}|" in signature
    assert "|idf:no|rescaled:no|" in signature


def test_the_vectors_are_those_of_the_asked_layer(checkpoint: str) -> None:
    """Embeddings see no context, later layers do."""
    alone, within = "the cat", "the cat sat"

    def moved(layer: int) -> float:
        first, second = open_encoder(checkpoint, layer)([alone, within])
        return float((first.vectors_TH[2] - second.vectors_TH[2]).abs().max())

    assert moved(0) < 1e-6 < moved(1)


def test_a_text_that_would_be_cut_is_refused(checkpoint: str) -> None:
    """The message gives the limit and the longest text."""
    long = Prediction("0", "", ("the cat",), "the " * 20)

    with pytest.raises(EvaluationError, match=r"1 of 2 have more than the 12 tokens .*\(longest: 22\)"):
        tallied("bertscore", [long], EncoderCheckpoint(checkpoint))


def test_a_layer_that_is_not_there_is_refused(checkpoint: str) -> None:
    """The message gives the layers there are."""
    with pytest.raises(EvaluationError, match=r"layer 4 of .*, which has 3; set task\.bertscore\.layer to 0"):
        open_encoder(checkpoint, 4)


def test_a_missing_encoder_is_refused(tmp_path: Path) -> None:
    """A folder without a network gives a sentence that names it."""
    with pytest.raises(EvaluationError, match="bertscore cannot load an encoder from"):
        open_encoder(str(tmp_path))
