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


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Runtime:
    def __init__(self, folder):
        os.environ["GGML_NO_BACKTRACE"] = "1"
        ggml_base, ggml, library = (ctypes.CDLL(glob.glob(os.path.join(folder, name))[0], mode=ctypes.RTLD_GLOBAL)
                                    for name in ("libggml-base.so", "libggml.*.so", "libllama.v*.so"))
        library.llama_model_default_params.restype = ModelParameters
        library.llama_model_load_from_file.restype = ctypes.c_void_p
        library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParameters]
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
