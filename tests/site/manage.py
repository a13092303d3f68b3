#!/usr/bin/env python
import os
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_site.settings")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
