"""Chat templates of real families: the same prompts as transformers gives, on every day, and the end of an answer."""

from pathlib import Path

import pytest
from tests.models.chat_templates import FAMILIES, chat_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from understudy.errors import ModelError
from understudy.models import chat
from understudy.models.text import encode_sources, encode_targets, plain_text, set_source_format

SYSTEM = ("system", "You write bulletins.")
SHOT = [("user", "the order"), ("assistant", "a lamp")]


def chatting(name: str) -> PreTrainedTokenizerBase:
    """A family's tokenizer in the chat format."""
    tokenizer = chat_tokenizer(name)
    set_source_format(tokenizer, "chat")
    return tokenizer


def by_transformers(tokenizer: PreTrainedTokenizerBase, turns: list[tuple[str, str]], **settings: object) -> list[int]:
    """The row that a user gets who calls transformers."""
    ids: list[int] = tokenizer.apply_chat_template(
        [{"role": role, "content": text} for role, text in turns],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
        **settings,
    )
    return ids


@pytest.mark.parametrize("name", FAMILIES)
def test_a_source_is_what_the_saved_tokenizer_gives_a_user(name: str, tmp_path: Path) -> None:
    """With the system turn where there is one, demonstrations, and one bos at most; also after saving and loading."""
    tokenizer, family = chatting(name), FAMILIES[name]
    before = [*([SYSTEM] if family.system else []), *SHOT]
    (row,) = encode_sources(tokenizer, [" 2 chairs\n"], is_encoder_decoder=False, turns=[before])
    tokenizer.save_pretrained(tmp_path)
    delivered = AutoTokenizer.from_pretrained(tmp_path)

    assert row == by_transformers(delivered, [*before, ("user", " 2 chairs\n")])
    assert row.count(tokenizer.bos_token_id) == (1 if family.bos else 0)
    assert delivered.eos_token == family.end
    assert tokenizer.decode(row).endswith(family.answer_prefix)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_target_ends_with_the_token_that_ends_an_answer(name: str) -> None:
    """Of the template, also where the tokenizer has another end-of-sequence token."""
    tokenizer, family = chatting(name), FAMILIES[name]

    assert tokenizer.eos_token == family.end
    (row,) = encode_targets(tokenizer, ["a lamp"], is_encoder_decoder=False)
    assert tokenizer.decode(row) == f"a lamp{family.end}"


@pytest.mark.parametrize("name", ["gemma2", "mistral"])
def test_a_system_turn_that_the_template_refuses_is_refused_with_the_way_out(name: str) -> None:
    """Gemma 3 puts it into the user's turn; Gemma 2 and Mistral raise."""
    with pytest.raises(ModelError, match=r"cannot render a system turn.*task\.prompt"):
        encode_sources(chatting(name), ["x"], is_encoder_decoder=False, turns=[[SYSTEM]])
    assert "user\nYou write bulletins.\n\nx<end_of_turn>" in chat.rendered_turns(
        chatting("gemma3"), [SYSTEM, ("user", "x")]
    )


def test_a_template_without_a_place_for_the_system_turn_is_refused() -> None:
    """It would be left out without a word."""
    tokenizer = chatting("phi3")
    tokenizer.chat_template = "{% for m in messages if m.role == 'user' %}<|user|>{{ m.content }}<|end|>{% endfor %}"
    with pytest.raises(ModelError, match=r"leaves out the system turn 'You write bulletins\.'"):
        encode_sources(tokenizer, ["x"], is_encoder_decoder=False, turns=[[SYSTEM]])


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'hello' }}",  # nothing of the source
        "{{ messages[-1].content[:1] }}",
        "{{ 1 / 0 }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ messages[7].content }}",
        "{% for m in messages %}{{ m.content }",
    ],
)
def test_a_template_that_cannot_show_a_source_is_refused(template: str) -> None:
    """A template is a program, which can raise any error, or write the same for every source."""
    tokenizer = chatting("phi3")
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match=r"chat template (leaves out|cannot render).*set template: none or separator"):
        encode_sources(tokenizer, ["a source"], is_encoder_decoder=False)


def test_a_template_that_forgets_demonstrations_is_refused() -> None:
    """Its teacher would never see them; reasoning of earlier answers is removed by many templates."""
    shown = [[("user", "one"), ("assistant", "<think>why</think>first")]]
    encode_sources(chatting("qwen3"), ["x"], is_encoder_decoder=False, turns=shown)
    tokenizer = chatting("phi3")
    tokenizer.chat_template = "{{ messages[-1].content }}"
    with pytest.raises(ModelError, match="leaves out the user turn 'one'"):
        encode_sources(tokenizer, ["x"], is_encoder_decoder=False, turns=shown)


def test_several_templates_without_a_default_are_refused() -> None:
    """None of them is the one for a chat."""
    tokenizer = chatting("phi3")
    tokenizer.chat_template = {"tool_use": "x", "rag": "y"}
    with pytest.raises(ModelError, match=r"several chat templates \(tool_use, rag\).*template: none or separator"):
        set_source_format(tokenizer, "chat")


@pytest.mark.parametrize("format_", ["%d %b %Y", "%d %B %Y", "%A, %d %B %Y"])
def test_the_date_in_a_prompt_is_always_the_same(format_: str, tmp_path: Path) -> None:
    """Also in the delivered tokenizer; a user may still give another one."""
    tokenizer = chat_tokenizer("llama3.2")
    tokenizer.chat_template = tokenizer.chat_template.replace("%d %b %Y", format_)
    set_source_format(tokenizer, "chat")
    tokenizer.save_pretrained(tmp_path)
    delivered = AutoTokenizer.from_pretrained(tmp_path)
    date = {"%d %b %Y": "26 Jul 2024", "%d %B %Y": "26 July 2024", "%A, %d %B %Y": "Friday, 26 July 2024"}[format_]

    assert f"Today Date: {date}\n" in delivered.decode(by_transformers(delivered, [("user", "x")]))
    assert "Today Date: now\n" in delivered.decode(by_transformers(delivered, [("user", "x")], date_string="now"))


def test_a_model_that_may_reason_does_not_unless_it_is_asked() -> None:
    """The prompt of Qwen 3 ends with an empty block of reasoning, in training as in use."""
    tokenizer = chatting("qwen3")
    turns = [("user", "x")]

    assert tokenizer.decode(by_transformers(tokenizer, turns)).endswith("<think>\n\n</think>\n\n")
    assert tokenizer.decode(by_transformers(tokenizer, turns, enable_thinking=True)).endswith("assistant\n")


def test_choosing_the_format_twice_changes_nothing_more() -> None:
    """A student may start from a tokenizer that was delivered."""
    tokenizer = chatting("llama3.2")
    once = tokenizer.chat_template
    set_source_format(tokenizer, "chat")

    assert tokenizer.chat_template == once


@pytest.mark.parametrize("name", FAMILIES)
def test_no_turn_can_end_itself(name: str) -> None:
    """Special tokens written in a demonstration or a system turn are text: the template's own are where they were."""
    tokenizer, family = chatting(name), FAMILIES[name]
    special = set(tokenizer.convert_tokens_to_ids(list(family.special)))

    def row(text: str) -> list[int]:
        before = [("system", text)] if family.system else []
        turns = [[*before, ("user", text), ("assistant", f"a {text}")]]
        return encode_sources(tokenizer, [text], is_encoder_decoder=False, turns=turns)[0]

    written = f"x{family.end}{family.special[2]}y"
    assert [i for i in row(written) if i in special] == [i for i in row("xy") if i in special]
    assert tokenizer.decode(row(written)).replace(written, "xy") == tokenizer.decode(row("xy"))


def test_without_a_template_the_turns_are_plain_text() -> None:
    """Instructions and demonstrations are followed by blank lines; the source's line is followed by its target."""
    assert plain_text([SYSTEM, *SHOT], "2 chairs") == "You write bulletins.\n\nthe order\na lamp\n\n2 chairs\n"
    assert plain_text([SYSTEM], "2 chairs") == "You write bulletins.\n\n2 chairs"
    tokenizer = chat_tokenizer("llama3")
    set_source_format(tokenizer, "none")
    (row,) = encode_sources(tokenizer, ["2 chairs"], is_encoder_decoder=False, turns=[SHOT])
    assert row == tokenizer("the order\na lamp\n\n2 chairs\n")["input_ids"]
