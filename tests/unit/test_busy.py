"""The mean that a heartbeat carries."""

from worker.busy import BusyMinute


def test_it_is_of_the_last_minute_alone() -> None:
    minute = BusyMinute(100.0)
    shares = [minute.look(100.0 + second, min(second, 30.0)) for second in range(1, 121)]
    assert shares[9] == 1.0
    assert shares[39] == 30 / 40  # of all the time there was
    assert shares[59] == 0.5
    assert shares[74] == 15 / 60
    assert shares[90] == shares[119] == 0.0


def test_a_batch_that_ends_is_no_more_than_all_of_the_time() -> None:
    minute = BusyMinute(0.0)
    assert minute.look(1.0, 0.0) == 0.0
    assert minute.look(2.0, 2.5) == 1.0


def test_a_worker_that_was_stopped_for_longer_than_a_minute_begins_anew() -> None:
    minute = BusyMinute(0.0)
    minute.look(60.0, 60.0)
    assert minute.look(460.0, 60.0) == 0.0
