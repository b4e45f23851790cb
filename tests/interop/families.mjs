// families.mjs FILE...: the runtime loads each file, one of a golden of tests/golden/families, and writes a few tokens with it,
// greedily; but for those that it is known to refuse, which it must still refuse, for the reason that is given. (The files are
// the reference's, byte for byte, by tests/test_families.c.)
import {spawn} from "node:child_process";
import {readFileSync} from "node:fs";
import {basename} from "node:path";
import {fileURLToPath} from "node:url";

// What llama.cpp says of these, which are as the reference writes them.
const vocabulary = "_Map_base::at"; // it looks up <|endoftext|>, which the tokenizer that stands in has not
const attention = "GGML_ASSERT(ggml_can_mul_mat(a, b))"; // of its sparse attention, at so small a size
const shape = "GGML_ASSERT(ggml_nelements(a) == ne0*ne1)"; // of a tensor that it reshapes, also at so small a size
const refused = {deepseek32: attention, deepseek4: shape, glm5: attention, phi3: vocabulary,
                 phi3_longrope: vocabulary};
// On a CPU with AMX it puts split heads of F16 where only AMX reads them, and AMX does not multiply what is permuted.
const amx = readFileSync("/proc/cpuinfo", "utf8").includes("amx_int8");
if (amx)
    refused.kimi_k2_int4 = "GGML_ASSERT(*cur_backend_id != -1)";

async function write(path) {
    const {getLlama} = await import("node-llama-cpp");
    const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: "error"});
    const model = await llama.loadModel({modelPath: path});
    const context = await model.createContext({contextSize: 64, threads: 1});
    const sequence = context.getSequence();
    const tokens = [];
    for await (const token of sequence.evaluate([5, 6, 7, 8], {temperature: 0, yieldEogToken: true})) {
        tokens.push(token);
        if (tokens.length === 8)
            break;
    }
    console.log(JSON.stringify(tokens));
    process.exit(0);
}

// In a process of its own, for an assertion of the runtime ends it.
function inChild(path) {
    return new Promise((resolve) => {
        const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "--write", path]);
        let out = "", err = "";
        child.stdout.on("data", (data) => out += data);
        child.stderr.on("data", (data) => err += data);
        child.on("close", (code) => resolve({code, out, err: err + out}));
    });
}

async function check(path) {
    const name = basename(path, ".gguf"), reason = refused[name];
    const {code, out, err} = await inChild(path);
    const wrote = code === 0 && /\[\d+(,\d+)*\]\s*$/.test(out);
    if (reason === undefined ? wrote : !wrote && err.includes(reason))
        return true;
    const why = err.split("\n").filter((line) => /error|assert/i.test(line)).slice(0, 2).join(" | ");
    console.log(`families: ${name}: ${wrote ? "is refused no longer" : why}`);
    return false;
}

const [first, ...rest] = process.argv.slice(2);
if (first === "--write")
    await write(rest[0]);
else {
    let good = 0;
    const paths = [first, ...rest], waiting = [...paths];
    await Promise.all([0, 1].map(async () => {
        while (waiting.length > 0) {
            const agrees = await check(waiting.shift());
            good += agrees;
        }
    }));
    const names = Object.keys(refused).filter((name) => paths.some((path) => basename(path, ".gguf") === name));
    console.log(`families: the runtime loads ${good - names.length} of ${paths.length} files and writes with them; `
        + `as expected, it refuses ${names.join(", ")}`);
    process.exit(good === paths.length ? 0 : 1);
}
