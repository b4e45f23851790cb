"""llama.cpp's ready-built runtime: quantizing and loading, through ctypes."""
import ctypes
import glob
import os

RECIPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11,
           "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25,
           "IQ3_S": 26, "IQ3_M": 27, "IQ4_XS": 30, "BF16": 32, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38, "Q1_0": 40,
           "Q2_0": 41}
NEED_IMPORTANCE = {"IQ2_XXS": 19, "IQ2_XS": 20, "Q2_K_S": 21, "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ2_S": 28,
                   "IQ2_M": 29, "IQ1_M": 31}


class Importance(ctypes.Structure):  # struct llama_model_imatrix_data
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Parameters(ctypes.Structure):  # struct llama_model_quantize_params, include/llama.h of v0.5.0
    _fields_ = ([(n, ctypes.c_int32) for n in ("nthread", "ftype", "output_tensor_type", "token_embedding_type")]
                + [(n, ctypes.c_bool) for n in ("allow_requantize", "quantize_output_tensor", "only_copy", "pure",
                                                "keep_split", "dry_run")]
                + [(n, ctypes.c_void_p) for n in ("imatrix", "kv_overrides", "tt_overrides", "prune_layers")]
                + [("max_buf_size", ctypes.c_size_t)])


class ModelParameters(ctypes.Structure):  # struct llama_model_params
    _fields_ = ([(n, ctypes.c_void_p) for n in ("devices", "tensor_buft_overrides")]
                + [(n, ctypes.c_int32) for n in ("n_gpu_layers", "split_mode", "load_mode", "lazy_mode", "main_gpu")]
                + [(n, ctypes.c_void_p) for n in ("tensor_split", "progress_callback", "user_data", "kv_overrides")]
                + [(n, ctypes.c_bool) for n in ("vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc",
                                                "load_mtp")])


class ContextParameters(ctypes.Structure):  # struct llama_context_params
    _fields_ = ([(n, ctypes.c_uint32) for n in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq", "n_outputs_max",
                                                "n_outputs_max_per_seq")]
                + [(n, ctypes.c_int32) for n in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type",
                                                 "pooling_type", "attention_type", "flash_attn_type")]
                + [(n, ctypes.c_float) for n in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor",
                                                 "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")]
                + [("yarn_orig_ctx", ctypes.c_uint32), ("defrag_thold", ctypes.c_float)]
                + [(n, ctypes.c_void_p) for n in ("cb_eval", "cb_eval_user_data")]
                + [(n, ctypes.c_int32) for n in ("type_k", "type_v")]
                + [(n, ctypes.c_void_p) for n in ("abort_callback", "abort_callback_data")]
                + [(n, ctypes.c_bool) for n in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full",
                                                "kv_unified")]
                + [("samplers", ctypes.c_void_p), ("n_samplers", ctypes.c_size_t), ("ctx_other", ctypes.c_void_p)])


class Batch(ctypes.Structure):  # struct llama_batch
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
                ("pos", ctypes.POINTER(ctypes.c_int32)), ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8))]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Runtime:
    def __init__(self, folder):
        os.environ["GGML_NO_BACKTRACE"] = "1"
        ggml_base, ggml, library = (ctypes.CDLL(glob.glob(os.path.join(folder, name))[0], mode=ctypes.RTLD_GLOBAL)
                                    for name in ("libggml-base.so", "libggml.*.so", "libllama.v*.so"))
        library.llama_model_default_params.restype = ModelParameters
        library.llama_model_load_from_file.restype = ctypes.c_void_p
        library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParameters]
        library.llama_context_default_params.restype = ContextParameters
        library.llama_init_from_model.restype = ctypes.c_void_p
        library.llama_init_from_model.argtypes = [ctypes.c_void_p, ContextParameters]
        library.llama_batch_init.restype = Batch
        library.llama_batch_free.argtypes = [Batch]
        library.llama_decode.argtypes = [ctypes.c_void_p, Batch]
        library.llama_get_memory.restype = ctypes.c_void_p
        library.llama_memory_clear.argtypes = [ctypes.c_void_p, ctypes.c_bool]
        library.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
        library.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        library.llama_model_get_vocab.restype = ctypes.c_void_p
        for name in ("llama_free", "llama_model_free", "llama_get_memory", "llama_model_get_vocab", "llama_vocab_n_tokens",
                     "llama_vocab_bos", "llama_vocab_get_add_bos"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        library.llama_vocab_get_add_bos.restype = ctypes.c_bool
        library.llama_model_quantize_default_params.restype = Parameters
        library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]
        library.llama_model_quantize.restype = ctypes.c_uint32
        self.library = library
        self.lines = []
        self.log = LOG(lambda level, text, data: self.lines.append(text.decode(errors="replace")))
        library.llama_log_set(self.log, None)
        ggml.ggml_backend_load_all_from_path(folder.encode())

    def quantize(self, source, number, out, importance=None, dry_run=False):
        """Writes OUT, of file type NUMBER; returns what it says, or None where it refuses."""
        parameters = self.library.llama_model_quantize_default_params()
        parameters.ftype, parameters.dry_run = number, dry_run
        parameters.imatrix = ctypes.cast(importance, ctypes.c_void_p) if importance else None
        self.lines.clear()
        refused = self.library.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(parameters))
        return None if refused else "".join(self.lines)

    def loads(self, path):
        """Whether it loads the model, and what it says, from a process of its own: some models make it abort."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(writing, 2)
            self.lines.clear()
            model = self.library.llama_model_load_from_file(path.encode(), self.library.llama_model_default_params())
            os.write(2, "".join(self.lines).encode()[-1000:])
            os._exit(0 if model else 1)
        os.close(writing)
        with os.fdopen(reading, errors="replace") as pipe:
            said = pipe.read()
        return os.waitpid(child, 0)[1] == 0, said

    def logits(self, path, ids, length, add_bos=True):
        """
        For each chunk of LENGTH of the tokens IDS the logits of all its tokens, as llama-perplexity has them (with a cache of
        floats): from an empty cache, with ADD_BOS the first token replaced where the model wants it to be BOS.
        """
        library = self.library
        loading = library.llama_model_default_params()
        loading.use_extra_bufts = False  # on a CPU with AMX it aborts at products of heads that are laid out for that
        model = library.llama_model_load_from_file(path.encode(), loading)
        vocab = library.llama_model_get_vocab(model)
        parameters = library.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = length
        parameters.n_threads = parameters.n_threads_batch = 1
        parameters.type_k = parameters.type_v = 0
        parameters.flash_attn_type = 0
        context = library.llama_init_from_model(model, parameters)
        batch = library.llama_batch_init(length, 0, 1)
        batch.n_tokens, size, out = length, library.llama_vocab_n_tokens(vocab), []
        for chunk in range(len(ids) // length):
            library.llama_memory_clear(library.llama_get_memory(context), True)
            for i in range(length):
                batch.token[i] = ids[chunk * length + i]
                batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = i, 1, 0, 1
            if add_bos and library.llama_vocab_get_add_bos(vocab):
                batch.token[0] = library.llama_vocab_bos(vocab)
            assert library.llama_decode(context, batch) == 0, path
            out.append([library.llama_get_logits_ith(context, i)[:size] for i in range(length)])
        library.llama_batch_free(batch)
        library.llama_free(context)
        library.llama_model_free(model)
        return out
