"""The process among others: systemd's notifications and watchdog, and signals that end or reload.

May import `config`, `arrays` and `errors`.
"""
