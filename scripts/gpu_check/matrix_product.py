"""A large bf16 matrix product with PyTorch: TFLOP/s as JSON. What a prompt's products are measured beside."""

import json
import sys

SIZE, RUNS = 8192, 20


def main(device):
    import torch

    torch.cuda.set_device(device)
    a, b = (torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        torch.mm(a, b)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(RUNS):
        torch.mm(a, b)
    end.record()
    torch.cuda.synchronize()
    seconds = start.elapsed_time(end) / 1e3 / RUNS
    print(json.dumps({"tflops": 2 * SIZE**3 / seconds / 1e12, "torch": torch.__version__}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
