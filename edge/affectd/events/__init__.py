"""What leaves the device as JSON: emotion events, status events, and the sinks that take them.

May import `recognition`, `config`, `board`, `arrays` and `errors`.
"""
