"""`python -m affectd_train` is `affectd-train`."""


def main() -> int:
    """Run the program; what fails while its modules are imported is a sentence too."""
    try:
        from affectd.program.guard import guarded

        return guarded("affectd-train", _run, is_program=True)
    except KeyboardInterrupt:
        return 130


def _run() -> int:
    from affectd_train.cli import run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
