"""Sources of sound: WAV file, standard input, or a microphone that is reopened whenever it fails.

`source` opens what the command line names; `supervisor` reopens a microphone, `liveness` detects its faults.
May import `config`, `stdio`, `arrays` and `errors`.
"""
