"""Where the sound comes from: a WAV file, standard input, or a microphone that is opened again whenever it fails.

`source` opens what the command line names; `supervisor` keeps a microphone open, `liveness` judges whether it hears.
May import `config`, `stdio`, `arrays` and `errors`.
"""
