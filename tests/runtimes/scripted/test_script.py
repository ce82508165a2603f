import pytest

from runtimes.scripted.script import Step, parse, pieces


def test_text_without_script_is_echoed() -> None:
    assert parse("hello you").steps == (
        {"say": "You said: hello you"},
        {"usage": {"input_tokens": 2, "output_tokens": 4}},
    )


def test_script_is_found_within_text() -> None:
    assert parse('please script: [{"say": "x"}] thanks').steps == ({"say": "x"},)


def test_equal_texts_have_equal_digests() -> None:
    assert parse("a").digest == parse("a").digest != parse("b").digest


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("script: [", "not JSON"),
        ('script: {"say": "x"}', "not an array"),
        ('script: [{"shout": "x"}]', "unknown step"),
        ('script: [{"say": 3}]', "'say'"),
        ('script: [{"say": "x", "loud": true}]', "'loud'"),
        ('script: [{"ask_all": [{"say": "x"}]}]', "ask_all"),
        ('script: [{"say": "x"}, {"refuse": {"status": 500}}]', "must come first"),
    ],
)
def test_wrong_script_ends_turn_with_its_complaint(text: str, complaint: str) -> None:
    (step,) = parse(text).steps
    assert complaint in step["end_error"]


@pytest.mark.parametrize("asking", [{"tool": "bash", "ask": True}, {"custom_tool": "x"}, {"ask_all": []}])
def test_request_step_may_follow_an_ask(asking: Step) -> None:
    steps = (asking, {"refuse": {"status": 500}})
    assert parse(f"script: {list(steps)!r}".replace("'", '"').replace("True", "true")).steps == steps


@pytest.mark.parametrize("text", ["", " ", "one", "  two words ", "größer\nals das"])
@pytest.mark.parametrize("count", [None, 1, 3, 100])
def test_pieces_make_the_text_again(text: str, count: int | None) -> None:
    assert "".join(pieces(text, count)) == text
