"""The reference converter; with PRE set, told the pre-tokenizer whose hash it has not met."""
import os
import sys

import conversion.base
import convert_hf_to_gguf

if os.environ.get("PRE"):
    conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: os.environ["PRE"]
sys.exit(convert_hf_to_gguf.main())
