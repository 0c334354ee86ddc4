"""From which score on a detection is shown, where a person does not say."""

# Scores mean different things. An SVM decides at 0, and so does the demo of R-CNN's code. Fast R-CNN, Faster R-CNN and
# SSD give the probability of a class: at one half it is more likely than all else. YOLO's score is a probability times
# the overlap it expects, and darknet's demo starts at 0.2. On the default run's test split F1 is greatest near these.
SHOWN_FROM = {"rcnn": 0.0, "sppnet": 0.0, "fast_rcnn": 0.5, "faster_rcnn": 0.5, "yolo": 0.2, "ssd": 0.5}
