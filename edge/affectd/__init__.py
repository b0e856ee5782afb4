"""Speech emotion recognition on a small computer: microphone in, emotion events out.

Start reading at `affectd.pipeline`.
"""
