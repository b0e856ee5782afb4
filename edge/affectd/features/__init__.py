"""From samples to cepstra, with NumPy alone: the same code in training and on the device.

`spec` defines the features, `framing` cuts frames, `mfcc` computes, `context` keeps the input of the network.
May import `arrays` and nothing else of ours.
"""
