"""`python -m affectd` is `affectd`."""

from affectd.cli import main

raise SystemExit(main())
