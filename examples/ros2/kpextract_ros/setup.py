"""Build the ROS 2 package (ament_python)."""

from setuptools import setup

NAME = "kpextract_ros"

setup(
    name=NAME,
    version="0.1.0",
    description="Learned keypoints, descriptors and tracks of a camera for ROS 2",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/extractor.launch.py"]),
        (f"share/{NAME}/config", ["config/extractor.yaml", "config/fastdds.xml"]),
    ],
    install_requires=["setuptools", "kpextract"],
    zip_safe=True,
    entry_points={"console_scripts": [f"extractor = {NAME}.node:main"]},
)
