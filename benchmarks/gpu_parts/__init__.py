"""The parts of `benchmarks/gpu.py`: networks with random weights, and what is measured with them."""
