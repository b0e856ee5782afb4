"""The model card and the pictures, made from what the evaluations wrote.

May import evaluation, what is below it, and of training `recipe` and `log`, so that it runs without Keras.
"""
