"""The desktop side of affectd: corpora, splits, augmentation, training, quantization and packing.

It imports `affectd` for everything the device computes too (features, gate, resampler), never the reverse.
"""
