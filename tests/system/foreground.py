#!/usr/bin/env python3
"""foreground.py COMMAND...: executes it with the signals that a terminal gives. A shell's background jobs are born with SIGINT ignored."""
import os
import signal
import sys

for number in (signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
