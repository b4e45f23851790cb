"""chat.py NIBBLE SOURCE...: the tokens of one user message, as transformers' apply_chat_template and nibble generate --chat make
them. A folder has its own tokenizer; of a GGUF file the template is rendered by transformers, and nibble makes tokens of it."""
import json
import os
import subprocess
import sys

from gguf import GGUFReader
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

nibble, *sources = sys.argv[1:]
MESSAGES = ["Why is the sky blue?", "  two\nlines, \"quoted\" & <b>it's</b>\n\n", "naïve 日本語 🙂 {{ x }} {% y %}", "x"]


def run(*arguments):
    return subprocess.run([nibble, *arguments], check=True, capture_output=True, text=True).stdout


def of_folder(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return lambda messages: tokenizer.apply_chat_template(messages, add_generation_prompt=True)


def of_file(path):
    fields = {name: field.contents() for name, field in GGUFReader(path).fields.items() if name.startswith("tokenizer.")}
    tokens = fields["tokenizer.ggml.tokens"]
    special = {f"{kind}_token": tokens[fields[f"tokenizer.ggml.{kind}_token_id"]] for kind in ("bos", "eos")
               if f"tokenizer.ggml.{kind}_token_id" in fields}

    def ids(messages):
        (text,), _ = render_jinja_template([messages], chat_template=fields["tokenizer.chat_template"],
                                           add_generation_prompt=True, **special)
        return json.loads(run("tokenize", "-p", text, "--ids", "--no-bos", path))
    return ids


good, all_messages = 0, len(sources) * len(MESSAGES)
for source in sources:
    ids = (of_folder if os.path.isdir(source) else of_file)(source)
    for message in MESSAGES:
        theirs = ids([{"role": "user", "content": message}])
        ours = json.loads(run("generate", "--chat", "-p", message, "-n", "1", "--json", source))["models"][0]["prompt_ids"]
        if ours == list(theirs):
            good += 1
        else:
            print(f"chat: {source}: {message!r} is {ours}, and in transformers {list(theirs)}")
print(f"chat: {', '.join(sources)}: {good} of {all_messages} messages are transformers'")
sys.exit(good < all_messages)
