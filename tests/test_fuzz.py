import random

import pytest
from scripts.fuzz import DOMAINS, fuzz_all

FIXED_SEED = 22
CASES = 1000


@pytest.mark.parametrize("seed", [FIXED_SEED, None])
def test_valid_input_is_read_and_every_fault_is_refused(seed: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, no hang, no silent acceptance; a random seed is printed, for `python scripts/fuzz.py --seed`."""
    used = random.SystemRandom().randrange(2**32) if seed is None else seed
    failed = fuzz_all(list(DOMAINS.values()), CASES, used)
    said = capsys.readouterr().out

    assert not failed, said
    assert said.startswith(f"seed {used}\n")
    assert said.endswith(": 0 tracebacks, 0 hangs, 0 silent acceptances\n")
