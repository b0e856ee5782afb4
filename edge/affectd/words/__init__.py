"""Results as people and spreadsheets read them: aligned text, and CSV. Programs get JSON, which needs nothing of this.

May import `recognition` and `stdio`.
"""
