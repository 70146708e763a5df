"""What importing the package does."""

import os
import subprocess
import sys


def test_torch_is_let_ask_for_huge_pages_unless_the_user_says_otherwise():
    program = [sys.executable, "-c", "import gexlib, os; print(os.environ['THP_MEM_ALLOC_ENABLE'])"]
    for given, wanted in (({}, "1"), ({"THP_MEM_ALLOC_ENABLE": "0"}, "0")):
        environment = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"} | given
        assert subprocess.check_output(program, text=True, env=environment).strip() == wanted
