"""Test what ROS 2 finds in the package: launch file, parameters, metadata, README."""

import ast
import email.parser
import re
import runpy
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
import zipfile

import pytest

from tests import documents
from tests.examples.ros2.processes import PACKAGE

sys.path.append(str(PACKAGE))
from kpextract_ros.parameters import PARAMETERS

DEFAULTS = {each.name: each.default for each in PARAMETERS}


def test_the_config_file_has_the_defaults():
    text = (PACKAGE / "config" / "extractor.yaml").read_text()
    given = dict(re.findall(r"^    (\w+): (.*)$", text, re.MULTILINE))
    words = {"true": True, "false": False}
    read = {}
    for name, value in given.items():
        literal = re.fullmatch(r'[\d.]+|".*"', value)
        read[name] = ast.literal_eval(value) if literal else words.get(value, value)
    assert read == DEFAULTS
    assert list(map(type, read.values())) == list(map(type, DEFAULTS.values()))


def test_only_node_and_messages_need_ros():
    for path in (PACKAGE / "kpextract_ros").glob("*.py"):
        imported = re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        ros = {name for name in imported if name == "rclpy" or name.endswith("_msgs")}
        assert bool(ros) == (path.name in ("node.py", "messages.py")), path


@pytest.fixture
def launch(monkeypatch):
    """Stand in for ROS's launch packages; return what is declared."""
    declared = []
    names = ("launch", "launch_ros", "ament_index_python")
    parts = ("launch.actions", "launch.substitutions", "launch_ros.actions")
    for name in (*names, *parts, "ament_index_python.packages"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    modules = sys.modules
    modules["launch"].LaunchDescription = declared.extend
    modules["launch.actions"].DeclareLaunchArgument = lambda name, **given: (
        name,
        given,
    )
    modules["launch.substitutions"].LaunchConfiguration = lambda name: f"${name}"
    modules["launch_ros.actions"].Node = lambda **given: given
    modules["ament_index_python.packages"].get_package_share_directory = lambda name: (
        PACKAGE if name == "kpextract_ros" else None
    )
    file = runpy.run_path(str(PACKAGE / "launch" / "extractor.launch.py"))
    file["generate_launch_description"]()
    return declared


def test_the_launch_file_starts_the_node_with_every_topic_as_an_argument(launch):
    *arguments, node = launch
    given = dict(arguments)
    assert (node["package"], node["executable"]) == ("kpextract_ros", "extractor")
    source = (PACKAGE / "kpextract_ros" / "node.py").read_text()
    topics = set(re.findall(r'create\(\w+, "(\w+)"', source))
    topics |= {"image", "camera_info"}
    assert topics == {"image", "camera_info", "keypoints", "tracks", "image_keypoints"}
    assert dict(node["remappings"]) == {topic: f"${topic}" for topic in topics}
    assert set(given) == topics | {"namespace", "params_file"}
    for topic in topics:
        assert given[topic]["default_value"] == topic
        assert given[topic]["description"]
    assert node["parameters"] == ["$params_file"]
    assert node["namespace"] == "$namespace"
    config = PACKAGE / "config" / "extractor.yaml"
    assert given["params_file"]["default_value"] == str(config)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the package from a copy, as colcon's setup.py call would."""
    folder = tmp_path_factory.mktemp("package")
    subprocess.run(["cp", "-r", PACKAGE, folder / "source"], check=True)
    command = "pip wheel --no-deps --no-build-isolation -q -w . ./source"
    subprocess.run([sys.executable, "-m", *command.split()], cwd=folder, check=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_package_installs_what_ros_looks_for(wheel):
    names = {re.sub(r".*\.data/data/", "", name) for name in wheel.namelist()}
    assert names >= {
        "share/ament_index/resource_index/packages/kpextract_ros",
        "share/kpextract_ros/package.xml",
        "share/kpextract_ros/launch/extractor.launch.py",
        "share/kpextract_ros/config/extractor.yaml",
        "share/kpextract_ros/config/fastdds.xml",
        "kpextract_ros/node.py",
    }
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "extractor = kpextract_ros.node:main" in wheel.read(entry).decode()


def test_package_and_setup_agree(wheel):
    tree = ElementTree.parse(PACKAGE / "package.xml").getroot()
    (file,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = email.parser.Parser().parsestr(wheel.read(file).decode())
    for tag, key in (("name", "Name"), ("version", "Version")):
        assert tree.findtext(tag) == metadata[key]
    assert tree.findtext("license") == "Apache-2.0"
    assert tree.findtext("export/build_type") == "ament_python"
    source = "\n".join(
        (PACKAGE / "kpextract_ros" / name).read_text()
        for name in ("node.py", "messages.py")
    )
    needed = set(re.findall(r"^from (\w+_msgs|rcl\w+)\b", source, re.MULTILINE))
    assert needed <= {each.text for each in tree.findall("exec_depend")}


def test_the_readme_has_every_parameter_with_its_default():
    text = (PACKAGE / "README.md").read_text()
    section = text.split("## Parameters")[1].split("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", section, re.MULTILINE)
    shown = {"True": "true", "False": "false", "": '""'}
    defaults = {each.name: str(each.default) for each in PARAMETERS}
    assert dict(rows) == {name: shown.get(v, v) for name, v in defaults.items()}


def test_the_readme_is_sound():
    path = PACKAGE / "README.md"
    assert documents.broken_links(path) == []
    for snippet in documents.snippets(path.read_text(), "python"):
        ast.parse(snippet.code)
