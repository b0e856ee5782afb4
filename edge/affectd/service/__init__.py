"""systemd's notifications and watchdog, and the signals that end or reload the service.

May import `config`, `arrays` and `errors`.
"""
