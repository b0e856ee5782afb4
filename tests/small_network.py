"""The network with one convolution less, for tests of training in which its size is not the point.

Not with fewer channels: all units of a layer that weighs channels could then be 0 before training, and int8 cannot be.
"""

from __future__ import annotations

DILATIONS = (2,)

PROGRAM = f"""
import sys
from affectd_train.cli import main
from affectd_train.training import network

network.DILATIONS = {DILATIONS}
sys.exit(main())
"""
"""The program with that network, for `python -c`."""
