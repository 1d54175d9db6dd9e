"""Extract keypoints, descriptors and tracks from the images of a ROS 2 topic.

Only `node` imports rclpy; all other modules run without ROS.
"""
