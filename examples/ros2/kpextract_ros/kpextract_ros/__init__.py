"""Extract keypoints, descriptors and tracks from the images of a ROS 2 topic.

Only `node` and `messages` need ROS; all other modules run without it.
"""
