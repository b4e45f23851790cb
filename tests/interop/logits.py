"""logits.py DUMP_LOGITS FOLDER TEXT [RECORD]

The logits of the first 512 tokens of TEXT are those of transformers (float32, eager attention), within 1e-3.
RECORD, a file, receives every 64th row of them, from row 63 on, as little-endian floats.
"""
import subprocess
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

dump, folder, text, *record = sys.argv[1:]
TOKENS = 512
run = subprocess.run([dump, folder, text, str(TOKENS)], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
ids = [int(line) for line in run.stderr.split()]
ours = np.frombuffer(run.stdout, dtype="<f4").reshape(TOKENS, -1)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
with torch.no_grad():
    theirs = model(torch.tensor([ids])).logits[0].numpy()
worst = float(np.abs(ours - theirs).max())
print(f"logits: {folder}: {TOKENS} x {ours.shape[1]}, largest difference {worst:.2e} (logits up to {np.abs(theirs).max():.1f})")
if record:
    theirs[63::64].astype("<f4").tofile(record[0])
sys.exit(0 if worst < 1e-3 else 1)
