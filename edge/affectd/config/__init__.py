"""The settings: `sections` declares every key, `fields` checks values, `loading` reads file and environment.

May import `errors` and `files`, nothing else of ours.
"""
