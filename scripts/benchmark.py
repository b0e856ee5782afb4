#!/usr/bin/env python3
"""`affectd bench` as a script. Run it with the Python of affectd's environment."""

import sys

from affectd.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
