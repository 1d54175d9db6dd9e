"""The processes of benchmarks.ros_node that run in an environment with ROS 2."""
