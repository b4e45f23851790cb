// files.mjs FILE: the metadata and tensors of a GGUF file as @huggingface/gguf reads them, as JSON.
import {gguf} from "@huggingface/gguf";

const {metadata, tensorInfos} = await gguf(process.argv[2], {allowLocalFile: true});
const plain = (value) => typeof value === "bigint" ? value.toString() : value;
for (const key of ["version", "tensor_count", "kv_count"])
    delete metadata[key];
const tensors = tensorInfos.map((t) => ({name: t.name, shape: t.shape.map(Number), dtype: t.dtype}));
console.log(JSON.stringify({metadata, tensors}, (_, value) => plain(value)));
