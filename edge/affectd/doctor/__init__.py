"""`affectd doctor`: one check a function, each with its result and how to fix it; `checks` is their table.

May import any room but `cli`, `run`, `pipeline` and `bench`; a check imports what it needs itself.
"""
