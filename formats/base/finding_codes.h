/*
 * All findings: constant, stable code, severity, meaning. A code never changes its meaning, as
 * scripts may depend on it.
 */
#define NB_FINDING_CODES(X)                                                                                        \
    X(FILE_KIND, "file.kind", ERROR, "neither GGUF nor safetensors nor an importance matrix")                      \
    X(FILE_CHANGED, "file.changed", ERROR, "the file became shorter or different while it was read")               \
    X(FILE_PICKLE, "file.pickle", WARNING, "a PyTorch file, which can run code when it is loaded")                 \
    X(FILE_TOO_MANY, "file.too-many", ERROR, "more findings than are listed; the rest was not read")               \
    /* GGUF: the container */                                                                                      \
    X(GGUF_MAGIC, "gguf.magic", ERROR, "too short for a GGUF file, or its first bytes are not 'GGUF'")             \
    X(GGUF_VERSION, "gguf.version", ERROR, "a version that readers do not know")                                   \
    X(GGUF_ENDIAN, "gguf.endian", ERROR, "a big-endian file, which llama.cpp refuses")                             \
    X(GGUF_COUNT, "gguf.count", ERROR, "more entries or tensors than fit into the file, or than any model has") \
    X(GGUF_TRUNCATED, "gguf.truncated", ERROR, "the file ends inside its header")                                  \
    X(GGUF_KEY, "gguf.key", ERROR, "a metadata key that is empty, too long, not UTF-8 or has control characters")  \
    X(GGUF_KEY_STYLE, "gguf.key-style", WARNING, "a metadata key that is not lower_snake_case with dots")          \
    X(GGUF_KEY_DUPLICATE, "gguf.key-duplicate", ERROR, "a metadata key that occurs twice")                         \
    X(GGUF_VALUE_TYPE, "gguf.value-type", ERROR, "a value type that does not exist")                               \
    X(GGUF_STRING_LENGTH, "gguf.string-length", ERROR, "a string that is longer than the rest of the file")        \
    X(GGUF_TEXT, "gguf.text", ERROR, "a string that is not UTF-8 text")                                            \
    X(GGUF_BOOL, "gguf.bool", ERROR, "a boolean that is neither 0 nor 1")                                          \
    X(GGUF_ARRAY_TYPE, "gguf.array-type", ERROR, "an array of a type that does not exist")                         \
    X(GGUF_ARRAY_NESTED, "gguf.array-nested", ERROR, "an array of arrays, which llama.cpp refuses")                \
    X(GGUF_ARRAY_LENGTH, "gguf.array-length", ERROR, "an array with more elements than the file can hold")         \
    X(GGUF_ALIGNMENT, "gguf.alignment", ERROR, "general.alignment is not a u32 power of two of a sane size")       \
    X(GGUF_ALIGNMENT_ODD, "gguf.alignment-odd", WARNING, "general.alignment is not a multiple of 8")               \
    X(GGUF_TENSOR_NAME, "gguf.tensor-name", ERROR, "a tensor name that is empty, too long or no printable text")     \
    X(GGUF_TENSOR_DUPLICATE, "gguf.tensor-duplicate", ERROR, "a tensor name that occurs twice")                    \
    X(GGUF_TENSOR_DIMS, "gguf.tensor-dims", ERROR, "a tensor without dimensions, with more than 4, or one of 0")   \
    X(GGUF_TENSOR_TYPE, "gguf.tensor-type", ERROR, "a tensor type that does not exist")                            \
    X(GGUF_TENSOR_BLOCK, "gguf.tensor-block", ERROR, "a tensor whose rows do not fill the blocks of its type")     \
    X(GGUF_TENSOR_SIZE, "gguf.tensor-size", ERROR, "a tensor whose size overflows 63 bits")                        \
    X(GGUF_OFFSET_ALIGNMENT, "gguf.offset-alignment", ERROR, "a tensor that is not aligned")                       \
    X(GGUF_OFFSET_GAP, "gguf.offset-gap", ERROR, "a gap before a tensor; llama.cpp wants none")                    \
    X(GGUF_OFFSET_OVERLAP, "gguf.offset-overlap", ERROR, "a tensor that begins inside those before it")            \
    X(GGUF_TENSOR_OUTSIDE, "gguf.tensor-outside", ERROR, "a tensor that reaches beyond the end of the file")       \
    X(GGUF_PADDING, "gguf.padding", WARNING, "padding that is not zero")                                           \
    X(GGUF_CUT, "gguf.cut", ERROR, "no padding after the last tensor: llama.cpp's parser refuses to read the data") \
    X(GGUF_END, "gguf.end", WARNING, "bytes after the last tensor that belong to no tensor")                       \
    /* split sets */                                                                                               \
    X(SPLIT_KEYS, "split.keys", ERROR, "a part that does not say which part of how many it is")                    \
    X(SPLIT_NAME, "split.name", ERROR, "a part whose file name does not say what its metadata says")               \
    X(SPLIT_PART, "split.part", ERROR, "a part of the set that is missing or cannot be opened")                    \
    X(SPLIT_COUNT, "split.tensor-count", ERROR, "a set with another number of tensors than it says")               \
    X(SPLIT_DUPLICATE, "split.tensor-duplicate", ERROR, "a tensor that is in two parts")                           \
    /* safetensors */                                                                                              \
    X(ST_HEADER, "safetensors.header", ERROR, "a header that is too long, cut short or not a JSON object")         \
    X(ST_METADATA, "safetensors.metadata", ERROR, "__metadata__ that is not one map of strings to strings")        \
    X(ST_NAME, "safetensors.name", ERROR, "a tensor name that is not UTF-8 or has control characters")             \
    X(ST_DUPLICATE, "safetensors.duplicate", ERROR, "a tensor name that occurs twice")                             \
    X(ST_ENTRY, "safetensors.entry", ERROR, "an entry that is not an object of dtype, shape and data_offsets")     \
    X(ST_DTYPE, "safetensors.dtype", ERROR, "a dtype that does not exist")                                         \
    X(ST_SHAPE, "safetensors.shape", ERROR, "a shape that is no list of counts, or whose product overflows")       \
    X(ST_OUTSIDE, "safetensors.outside", ERROR, "data_offsets that are no range within the data")                  \
    X(ST_SIZE, "safetensors.size", ERROR, "a range that is not as long as dtype and shape make it")                \
    X(ST_OVERLAP, "safetensors.overlap", ERROR, "two tensors that share bytes")                                    \
    X(ST_HOLE, "safetensors.hole", ERROR, "bytes that belong to no tensor")                                        \
    /* checkpoint folders */                                                                                       \
    X(CP_CONFIG, "checkpoint.config", ERROR, "config.json is missing or cannot be read")                           \
    X(CP_WEIGHTS, "checkpoint.weights", ERROR, "no weights, or two sets of them without an index")                 \
    X(CP_INDEX, "checkpoint.index", ERROR, "an index that is no map of tensor names to files of the folder")       \
    X(CP_INDEX_DUPLICATE, "checkpoint.index-duplicate", ERROR, "a tensor that the index names twice")              \
    X(CP_SHARD, "checkpoint.shard", ERROR, "a shard that is missing, or that the index does not name")             \
    X(CP_TENSOR_PLACE, "checkpoint.tensor-place", ERROR, "a tensor that is not where the index says")              \
    X(CP_MODEL, "checkpoint.model", ERROR, "config, tensors or tokenizer do not make the model they should")       \
    X(CP_FAMILY, "checkpoint.family", WARNING, "a model class that is not known here: tensors are not compared")   \
    /* importance matrices */                                                                                      \
    X(IMATRIX_FORM, "imatrix.form", ERROR, "what should be an importance matrix cannot be read as one")            \
    X(IMATRIX_KEYS, "imatrix.keys", ERROR, "imatrix.datasets, chunk_count or chunk_size is missing")               \
    X(IMATRIX_PAIR, "imatrix.pair", ERROR, "sums without counts, counts without sums, or another tensor")          \
    X(IMATRIX_SHAPE, "imatrix.shape", ERROR, "sums and counts that do not fit each other")                         \
    X(IMATRIX_DUPLICATE, "imatrix.duplicate", ERROR, "an entry that occurs twice")                                 \
    X(IMATRIX_COUNT, "imatrix.count", ERROR, "a token count that is no number")                                    \
    X(IMATRIX_VALUE, "imatrix.value", ERROR, "a mean of squares that is negative, NaN or infinite")                \
    X(IMATRIX_IDLE, "imatrix.idle", WARNING, "an entry or an expert that received no tokens")                      \
    /* the tensors' data */                                                                                        \
    X(DATA_NOT_FINITE, "data.not-finite", ERROR, "a weight that is NaN or infinite")                               \
    X(DATA_SCALE, "data.scale", ERROR, "a block whose scale is NaN or infinite")                                   \
    X(DATA_CODE, "data.code", ERROR, "a block with a code that its type does not have")                            \
    X(DATA_ZERO, "data.zero", WARNING, "a tensor of zeros only")                                                   \
    X(DATA_CONSTANT, "data.constant", WARNING, "a tensor of one value only")                                       \
    /* the model */                                                                                                \
    X(MODEL_ARCHITECTURE, "model.architecture", ERROR, "general.architecture is missing or no text")               \
    X(MODEL_UNKNOWN, "model.unknown", WARNING, "an architecture that is not known here: tensors are not compared") \
    X(MODEL_KEY_MISSING, "model.key-missing", ERROR, "a key that the architecture needs")                          \
    X(MODEL_KEY_TYPE, "model.key-type", ERROR, "a key with a value of another type than llama.cpp reads")          \
    X(MODEL_KEY_VALUE, "model.key-value", ERROR, "a hyperparameter that no model can have")                        \
    X(MODEL_LAYER, "model.layer", ERROR, "a tensor of a layer beyond the last, or a layer without tensors")        \
    X(MODEL_TENSOR_MISSING, "model.tensor-missing", ERROR, "a tensor that the architecture needs")                 \
    X(MODEL_TENSOR_UNEXPECTED, "model.tensor-unexpected", ERROR, "a tensor that the architecture does not have")   \
    X(MODEL_TENSOR_SHAPE, "model.tensor-shape", ERROR, "a tensor whose shape is not what the keys make it")        \
    X(MODEL_QUANTIZATION, "model.quantization-version", WARNING, "quantized, but of no or an unknown version")     \
    /* the tokenizer */                                                                                            \
    X(TOKENS_MISSING, "tokenizer.missing", WARNING, "a model without a tokenizer")                                 \
    X(TOKENS_KIND, "tokenizer.kind", WARNING, "a tokenizer of a kind that is not known here")                      \
    X(TOKENS_TYPE, "tokenizer.type", ERROR, "a tokenizer key with a value of another type than llama.cpp reads")   \
    X(TOKENS_LENGTH, "tokenizer.length", ERROR, "arrays of the tokenizer with different lengths")                  \
    X(TOKENS_TOKEN_TYPE, "tokenizer.token-type", ERROR, "a token of a type that does not exist")                   \
    X(TOKENS_SCORE, "tokenizer.score", ERROR, "a token's score that is NaN")                                       \
    X(TOKENS_SPECIAL, "tokenizer.special-id", ERROR, "a special token's id beyond the vocabulary")                 \
    X(TOKENS_BYTE, "tokenizer.byte-token", ERROR, "a byte token that is not written <0x00> to <0xFF>")             \
    X(TOKENS_DUPLICATE, "tokenizer.duplicate", WARNING, "two tokens with one text")                                \
    X(TOKENS_MERGE, "tokenizer.merge", ERROR, "a merge that is no pair of texts")                                  \
    X(TOKENS_MERGE_TOKEN, "tokenizer.merge-token", ERROR, "a merge with a side or a result that is not a token")   \
    X(TOKENS_EMBEDDING, "tokenizer.embedding", ERROR, "an embedding with another number of rows than tokens")      \
    /* the chat template */                                                                                        \
    X(TEMPLATE_SIZE, "template.size", WARNING, "a chat template larger than any model's")                          \
    X(TEMPLATE_CONTROL, "template.control", WARNING, "control characters in a chat template")                      \
    X(TEMPLATE_ATTRIBUTE, "template.attribute", WARNING, "a chat template that reaches for Python's internals")    \
    X(TEMPLATE_IMPORT, "template.import", WARNING, "a chat template that imports or includes")                     \
    X(TEMPLATE_FILE, "template.file", WARNING, "a chat template that names files or processes")
