"""From samples to cepstra, with NumPy alone: the same code in training and on the device.

`spec` says what an MFCC is, `framing` cuts frames, `mfcc` computes, `context` keeps what the network sees.
May import `arrays` and nothing else of ours.
"""
