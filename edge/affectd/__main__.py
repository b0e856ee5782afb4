"""`python -m affectd` is `affectd`."""


def main() -> int:
    """Run the program; what fails while its modules are imported is a sentence too."""
    try:
        from affectd.program.guard import guarded

        return guarded("affectd", _run, is_program=True)
    except KeyboardInterrupt:
        return 130


def _run() -> int:
    from affectd.cli import run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
