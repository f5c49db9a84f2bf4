"""The drawn traffic has the shape that it claims."""

from collections import Counter

from tests.bench.zipf import EXPONENT, Zipf

LINKS = 1000


def test_each_number_has_one_rank() -> None:
    zipf = Zipf(LINKS)
    assert sorted(zipf.number(rank) for rank in range(LINKS)) == list(range(1, LINKS + 1))


def test_popular_links_lie_anywhere() -> None:
    popular = [Zipf(LINKS).number(rank) for rank in range(10)]
    assert max(popular) - min(popular) > LINKS / 2


def test_a_link_is_drawn_as_often_as_its_rank_says() -> None:
    zipf, draws = Zipf(LINKS, seed=7), 200_000
    drawn = Counter(zipf.numbers(draws))
    whole = sum(rank**-EXPONENT for rank in range(1, LINKS + 1))
    for rank in (1, 2, 10):
        expected = draws * rank**-EXPONENT / whole
        assert abs(drawn[zipf.number(rank - 1)] - expected) < expected / 20


def test_a_seed_gives_the_same_traffic_and_each_draw_another() -> None:
    first, second = Zipf(LINKS), Zipf(LINKS)
    drawn = first.numbers(100)
    assert drawn == second.numbers(100)
    assert drawn != first.numbers(100)
