"""From frames to a label: the voice gate, the model file, the int8 network, smoothing, and whole recordings.

May import `features`, `config`, `stdio`, `files`, `arrays` and `errors`.
"""
