"""modeling.segment_anything_modules: the package's modules without its torchvision."""

import subprocess
import sys


def test_the_bare_package_does_not_stay() -> None:
    """After the import, segment_anything is not in sys.modules: a plain import finds the package as it is."""
    code = (
        "import sys, modeling.segment_anything_modules as modules\n"
        "assert modules.Sam.__module__ == 'segment_anything.modeling.sam'\n"
        "sys.exit('segment_anything' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
