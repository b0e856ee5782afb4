"""Everything that is said over MQTT: `publisher` is the sink, `connection` the thread, `link` one attempt with paho.

May import `outbox`, `events`, `audio`, `recognition`, `config`, `board`, `arrays` and `errors`.
"""
