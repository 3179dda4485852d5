import pytest

from understudy.config.template import Column, Role, parts_of


def test_a_template_is_parsed_into_texts_and_columns() -> None:
    """Parts keep their order; empty texts are left out."""
    assert parts_of("{context}; answer: {answers.text[0]}") == (
        Column("context", ("context",), None),
        "; answer: ",
        Column("answers.text[0]", ("answers", "text", 0), None),
    )


def test_a_column_name_may_contain_spaces() -> None:
    """Only dots, colons, brackets and braces have a meaning in a path."""
    assert parts_of("the {Article Title-2}") == ("the ", Column("Article Title-2", ("Article Title-2",), None))


def test_a_message_may_be_chosen_by_its_role() -> None:
    """The position of a message says nothing: some conversations begin with a system turn."""
    (column,) = parts_of("{messages[user].content}")
    assert column == Column("messages[user].content", ("messages", Role("user"), "content"), None)


def test_a_column_may_be_limited_to_its_first_words() -> None:
    """The limit is a number of words."""
    assert parts_of("{document:300 words}") == (Column("document:300 words", ("document",), 300),)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("document", r"'document' names no column; write one in braces, such as \{document\}"),
        ("{document", r"'\{document' .*unmatched brace"),
        ("a } {b}", r"unmatched brace"),
        ("{}", r"\{\} is not .*path.*write \{name\}, \{name\.key\} or \{name\[0\]\}"),
        ("{a.}", r"\{a\.\} is not .*path"),
        ("{a[-1]}", r"\{a\[-1\]\} is not .*path"),
        ("{a['b']}", r"is not .*path"),
        ("{a[system].content}", r"is not .*path.*\{messages\[user\]\.content\}"),
        ("{a:300}", r"\{a:300\} is not .*path.*\{name:300 words\}"),
        ("{a:0 words}", r"is not .*path"),
        ("{a:>10}", r"is not .*path"),
    ],
)
def test_an_invalid_template_is_refused(template: str, message: str) -> None:
    """The message shows the template and the syntax."""
    with pytest.raises(ValueError, match=message):
        parts_of(template)
