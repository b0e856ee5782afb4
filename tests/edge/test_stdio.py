"""The log: nothing outside can fill it."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
from contextlib import suppress

from affectd.stdio import PerMinute


def record(message: str, *arguments: object, name: str = "a") -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, message, arguments, None)


def test_ten_records_of_a_kind_pass_in_a_minute() -> None:
    now = 0.0
    limited = PerMinute(lambda: now)
    passed = [one for one in (record("%d is wrong", n) for n in range(1000)) if limited.filter(one)]
    assert len(passed) == 10
    assert [one.getMessage() for one in passed[:2]] == ["0 is wrong", "1 is wrong"]
    assert passed[-1].getMessage() == "9 is wrong (more like this are left out for a minute)"
    assert limited.filter(record("another kind"))
    assert limited.filter(record("%d is wrong", 1, name="b"))
    now = 61.0
    assert limited.filter(record("%d is wrong", 1000))


def test_the_log_of_the_program_is_limited() -> None:
    program = (
        "import logging, affectd.stdio as s; s.log_to_stderr()\n"
        "for n in range(10_000): logging.getLogger('x').warning('no %d', n)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stderr.splitlines()
    assert len(lines) == 10
    assert lines[0] == "affectd: no 0"


def test_the_log_is_one_line_of_printable_characters_for_each_record() -> None:
    program = (
        "import logging, affectd.stdio as s; s.log_to_stderr(); log = logging.getLogger('x')\n"
        "log.warning('no %s', 'a\\x1b[31m\\x9b\\u202e\\udcff\\r\\n.wav')\n"
        "log.warning('%d', 'not a number')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: log.exception('failed')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines() == [
        r"affectd: no a\x1b[31m\x9b\u202e\udcff\r\n.wav",
        "affectd: %d",
        "affectd: failed: ZeroDivisionError('division by zero')",
    ]


def test_a_terminal_with_too_little_room_for_a_line_holds_up_no_log() -> None:
    screen, terminal = pty.openpty()
    os.set_blocking(terminal, False)
    with suppress(BlockingIOError):
        while True:
            os.write(terminal, b"x" * 100)
    os.set_blocking(terminal, True)
    program = (
        "import logging, affectd.stdio as s; s.log_to_stderr()\n"
        "for n in range(10): logging.getLogger('x').warning('no %s %d', 'x' * 3000, n)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=terminal) as process:
        try:
            os.read(screen, 500)  # the terminal is ready again, but not for a whole line
            assert process.wait(20) == 0
        finally:
            process.kill()
            os.close(terminal)
            os.close(screen)


def test_a_log_that_a_library_sets_up_while_it_is_quiet_does_not_fail_later() -> None:
    code = """if True:
        import logging
        from affectd.stdio import quiet
        with quiet():
            logging.basicConfig()
        logging.getLogger("later").warning("heard")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "heard\n"
