"""Processor time of a command, with those of its descendants that nobody waits for."""

import os
import sys

import pytest

from tests.benchmarks._processor_time import measure_command

BURN = "import time\nwhile time.process_time() < 0.5: pass\n"
ORPHAN = f"""
import subprocess, sys
process = subprocess.Popen([sys.executable, "-c", {BURN!r}], stdout=subprocess.PIPE)
process.stdout.read()  # to its end, but without waiting for it: its time is not added to this process's
"""


def test_a_process_is_counted_that_nobody_waits_for(tmp_path):
    processor_s, _ = measure_command([sys.executable, "-c", ORPHAN], tmp_path, os.environ)
    assert processor_s >= 0.4  # of 0.5 s, of which the last 0.05 s may not be seen


def test_a_command_that_fails_is_told_with_its_words(tmp_path):
    with pytest.raises(RuntimeError, match="no such key"):
        measure_command([sys.executable, "-c", "raise KeyError('no such key')"], tmp_path, os.environ)
