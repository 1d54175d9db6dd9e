"""Print the requirements of kpextract and of some of its extras, from setup.cfg.

python tests/arm64/requirements.py cpu hdf5
"""

import configparser
import sys


def main(extras):
    config = configparser.ConfigParser()
    config.read("setup.cfg")
    lines = config["options"]["install_requires"].splitlines()
    for extra in extras:
        lines += config["options.extras_require"][extra].splitlines()
    print("\n".join(line for line in lines if line and not line.startswith("#")))


if __name__ == "__main__":
    main(sys.argv[1:])
