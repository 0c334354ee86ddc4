"""Boxline: six object detectors, R-CNN to SSD, trained stage by stage the way their papers did it."""
