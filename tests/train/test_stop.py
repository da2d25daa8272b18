"""The first signal is noted, the second obeyed, and handlers come back."""

import os
import signal
import threading
import time

import pytest

from fastvd.train.stop import Stop, StopRequested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted_and_work_goes_on(number):
    with Stop() as stop:
        os.kill(os.getpid(), number)
        time.sleep(0)
        assert stop.signal is number


def test_second_signal_is_obeyed():
    with Stop():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_breaks_off_what_need_not_be_finished():
    with Stop() as stop:
        with pytest.raises(StopRequested), stop.breakable():
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal is signal.SIGTERM


def test_nothing_breakable_begins_after_a_signal():
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StopRequested), stop.breakable():
            pytest.fail("begun")


@pytest.mark.parametrize("is_signalled", [False, True])
def test_handlers_come_back(is_signalled):
    before = [signal.getsignal(number) for number in Stop.SIGNALS]
    with Stop():
        assert [signal.getsignal(number) for number in Stop.SIGNALS] != before
        if is_signalled:
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in Stop.SIGNALS] == before


def test_other_threads_install_no_handler():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def run():
        with Stop():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
