"""Speech emotion recognition on a small computer: microphone in, emotion events out.

Start reading at `affectd.pipeline`.
"""

__version__ = "0.1.0"
