"""How to mend a microphone that delivers unfit sound; see `affectd.audio.condition` for the reasons."""

GAIN = "set the gain: alsamixer, then F6 for the card and F4 for recording"

MENDS = {
    "rate": (
        "name the card itself in [audio] device, as affectd devices prints it, and no converter or file behind it; "
        "else try another socket, cable or card. What is piped into affectd must come in real time at the rate it says"
    ),
    "repeated": "unplug it and plug it in again; restart the sound server or the program that plays into it",
    "clicks": "check plug and cable; turn off its noise gate; try another microphone",
    "narrow": "turn off noise suppression and a headset profile of Bluetooth; free its opening; or name another card",
    "quiet": f"{GAIN} higher (or amixer -c CARD sset Capture 80%); move it closer",
    "clipped": f"{GAIN} lower (or amixer -c CARD sset Capture 40%), also without a boost; move it away",
}
"""What to do, by reason."""
