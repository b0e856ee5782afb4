"""Emotion and status events as JSON objects, and the sinks that take them.

May import `recognition`, `config`, `board`, `stdio`, `files`, `arrays` and `errors`.
"""
