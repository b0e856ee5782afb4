"""The model card and the pictures, made from what the evaluations wrote.

May import evaluation, data and `affectd_train.training.recipe`, so that it runs without Keras.
"""
