from legato.engine.batch import TokenLogprobs
from legato.engine.prompt_scores import PromptScores

PROMPT = (11, 12, 13, 14, 15)


def entry(token_id: int) -> TokenLogprobs:
    return TokenLogprobs(token_id, -1.0, 1, ())


def test_each_row_is_asked_about_the_token_behind_it() -> None:
    rows = PromptScores(PROMPT, 3).rows(0, 3)
    assert rows is not None
    assert (rows.first, rows.token_ids, rows.num_top) == (0, (12, 13, 14), 3)


def test_the_last_row_of_a_prompt_says_nothing_of_it() -> None:
    scores = PromptScores(PROMPT, 0)
    whole = scores.rows(0, 5)
    assert whole is not None
    assert whole.token_ids == PROMPT[1:]
    assert scores.rows(4, 5) is None
    assert PromptScores((7,), 0).rows(0, 1) is None


def test_rows_that_are_known_are_not_asked_for_again() -> None:
    scores = PromptScores(PROMPT, 0)
    scores.take([entry(12), entry(13)])
    assert scores.num_known == 2
    again = scores.rows(0, 4)
    assert again is not None
    assert (again.first, again.token_ids) == (2, (14, 15))
    scores.take([entry(14), entry(15)])
    assert [one.token_id for one in scores.known] == [12, 13, 14, 15]
    assert scores.rows(0, 5) is None
