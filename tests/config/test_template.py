import pytest

from understudy.config.template import Column, parts_of


def test_a_template_is_texts_and_columns() -> None:
    """In their order; texts that are empty are left out."""
    assert parts_of("{context}; answer: {answers.text[0]}") == (
        Column("context", ("context",), None),
        "; answer: ",
        Column("answers.text[0]", ("answers", "text", 0), None),
    )


def test_a_column_may_have_words_in_its_name() -> None:
    """Names are those of the data set: only dots, colons, brackets and braces have a meaning here."""
    assert parts_of("the {Article Title-2}") == ("the ", Column("Article Title-2", ("Article Title-2",), None))


def test_a_column_may_give_its_first_words() -> None:
    """So many, and no unit but words."""
    assert parts_of("{document:300 words}") == (Column("document:300 words", ("document",), 300),)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("document", r"'document' names no column; write one in braces, such as \{document\}"),
        ("{document", r"'\{document' has a brace without its other half; columns stand in pairs of braces"),
        ("a } {b}", r"has a brace without its other half"),
        ("{}", r"\{\} is not the place of a column; write \{name\}, \{name\.key\} or \{name\[0\]\}"),
        ("{a.}", r"\{a\.\} is not the place of a column"),
        ("{a[-1]}", r"\{a\[-1\]\} is not the place of a column"),
        ("{a['b']}", r"is not the place of a column"),
        ("{a:300}", r"\{a:300\} is not the place of a column; .*\{name:300 words\} for the first words alone"),
        ("{a:0 words}", r"is not the place of a column"),
        ("{a:>10}", r"is not the place of a column"),
    ],
)
def test_a_template_that_is_none_is_refused(template: str, sentence: str) -> None:
    """Each with what is wrong and how it is written."""
    with pytest.raises(ValueError, match=sentence):
        parts_of(template)
