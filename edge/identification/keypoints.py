"""The names of the points that pose models give, in the order of their outputs."""

from typing import Final


def _sides(*parts: str) -> tuple[str, ...]:
    return tuple(f"{side} {part}" for part in parts for side in ("left", "right"))


# COCO's keypoints (cocodataset.org/#keypoints-2020), which MoveNet answers with.
BODY_17: Final = (
    "nose",
    *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
)
# MediaPipe's pose landmarker: developers.google.com/mediapipe/solutions/vision/pose_landmarker.
BODY_33: Final = (
    "nose",
    *(f"{side} eye{part}" for side in ("left", "right") for part in (" (inner)", "", " (outer)")),
    "left ear",
    "right ear",
    "mouth (left)",
    "mouth (right)",
    *_sides("shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
    *_sides("hip", "knee", "ankle", "heel", "foot index"),
)
# MediaPipe's hand landmarker: the wrist, then each finger from the palm to its tip.
HAND_21: Final = (
    "wrist",
    *(f"thumb {joint}" for joint in ("CMC", "MCP", "IP", "tip")),
    *(
        f"{finger} finger {joint}"
        for finger in ("index", "middle", "ring", "little")
        for joint in ("MCP", "PIP", "DIP", "tip")
    ),
)
