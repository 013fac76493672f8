"""The memo: a value lives until something it read is touched, and never longer."""

from streams.facts_memo import Memo


def test_a_value_goes_with_any_of_what_it_read() -> None:
    memo = Memo()
    memo.put("a", 1, ("x", "y"))
    memo.put("b", 2, ("y",))
    memo.put("c", 3, ("z",))
    memo.touch("y")
    assert [memo.get(key) for key in "abc"] == [None, None, 3]
    memo.touch("unknown")
    assert memo.get("c") == 3


def test_a_value_put_again_reads_what_it_reads_now() -> None:
    memo = Memo()
    memo.put("a", 1, ("x",))
    memo.put("a", 2, ("y",))
    memo.touch("x")
    assert memo.get("a") == 2
    memo.touch("y")
    assert memo.get("a") is None


def test_it_is_bounded_and_forgets_what_nobody_reads() -> None:
    memo = Memo(max_values=3)
    for n in range(10):
        memo.put(n, n, (f"t{n}", "all"))
    assert len(memo) == 3
    assert [memo.get(n) for n in (6, 7, 8, 9)] == [None, 7, 8, 9]
    assert set(memo._readers) == {"t7", "t8", "t9", "all"}
    memo.touch("all")
    assert (len(memo), memo._readers) == (0, {})
