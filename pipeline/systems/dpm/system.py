"""What the project needs to know of deformable part models (Felzenszwalb et al., PAMI 2010; voc-release5)."""

from pipeline.registry import Published, System
from pipeline.systems.dpm.params import Dpm

_PAMI = "Felzenszwalb et al. 2010"

SYSTEM = System(
    name="dpm",
    title="DPM",
    paper="Felzenszwalb et al., PAMI",
    date="2010-09",  # of the issue; online since 2009-09
    colour="#a0616a",
    shown_from=0.0,  # An SVM decides at 0.
    params=Dpm,
    # The means of the paper's rows are computed, as it prints none; seconds are given for another version each.
    published=(
        Published("none; root and parts", "07", 26.3, None, None, "", f"{_PAMI}, Table 1"),
        Published("none; box prediction", "07", 26.8, None, None, "", f"{_PAMI}, Table 1"),
        Published("none; context of other classes", "07", 29.1, None, None, "", f"{_PAMI}, Table 1"),
        Published("none; voc-release5, box prediction", "07", 33.7, None, None, "", "Girshick et al. 2014, Table 2"),
    ),
)
