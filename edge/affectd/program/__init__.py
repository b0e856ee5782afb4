"""What both programs share: how they read their arguments, and how they end.

May import `config`, `files`, `stdio` and `errors`.
"""
