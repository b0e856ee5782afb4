#!/usr/bin/env python3
"""Measure what affectd costs on this board; the same as `affectd bench`. Run it with the Python affectd is in."""

import sys

from affectd.bench.command import main

sys.exit(main())
