"""Labels of one's own as people write them, for tests of what people see."""

from __future__ import annotations

SIXTEEN = (
    "happy",
    "müde",
    "very calm",
    "überrascht und erfreut zugleich",
    "gereizt, aber noch freundlich",
    "gereizt, aber nicht mehr freundlich",
    "<b>bold & brave</b>",
    "疲れている",
    "устал",
    "مرهق",
    "थका हुआ",
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "stressed",
    "bored",
    "mood 1",
    "mood 2",
)
TWO = ("müde", "wach")
