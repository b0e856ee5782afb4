"""The experiments behind every published figure: who trains, who is tested, and with what.

May import evaluation, export, training and what those may.
"""
