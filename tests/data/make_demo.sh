#!/bin/sh
# Make demo.wav: a synthetic voice (espeak-ng) that changes its pitch, speed and loudness, with pauses and faint noise.
# Needs the Debian packages espeak-ng and sox. It holds no recording of a person.
set -eu
out="$(cd "$(dirname "$0")" && pwd)/demo.wav"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
say() { # NAME PITCH SPEED LOUDNESS TEXT
    espeak-ng -v en-us -p "$2" -s "$3" -a "$4" -w "$1-22.wav" "$5"
    sox "$1-22.wav" -r 16000 -b 16 "$1.wav" dither -S pad 0.2 1.3
}
say 1 45 150 60 "The train to the coast leaves at nine in the morning."
say 2 85 210 90 "We won the first prize! Can you believe it?"
say 3 25 105 40 "Nobody came to the party in the end."
say 4 70 220 110 "Stop that at once! I have told you three times already!"
sox -R 1.wav 2.wav 3.wav 4.wav joined.wav
sox -R -n -r 16000 -b 16 noise.wav synth "$(soxi -D joined.wav)" pinknoise vol 0.003
sox -R -m -v 0.9 joined.wav -v 0.9 noise.wav -b 16 "$out"
