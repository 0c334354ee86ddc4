"""Colours of the report: one per error type and phase of detection, as ``#rrggbb``."""

TYPE_COLOURS = {"Correct": "#2e9e6b", "Loc": "#3f7fd1", "Sim": "#d9822b", "Oth": "#c94f7c", "BG": "#7d8597"}
# Proposals stand out, image work is blue and green, what turns scores into boxes is warm.
PHASE_COLOURS = {
    "read": "#9aa3b2",
    "proposals": "#c94f7c",
    "convolution": "#3f7fd1",
    "pooling": "#17a3a3",
    "heads": "#2e9e6b",
    "svm": "#a3a02a",
    "box_regression": "#d9822b",
    "suppression": "#8b6f5c",
}
