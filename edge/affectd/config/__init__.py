"""The settings: `sections` declares every key, `fields` checks values, `loading` reads file and environment.

May import `errors` and `files` and nothing else of ours.
"""
