"""MQTT: `publisher` is the sink, `connection` the thread, `link` one connection with paho.

May import `outbox`, `events`, `audio`, `recognition`, `config`, `board`, `files`, `arrays` and
`errors`.
"""
