// memory.mjs [--cache] NIBBLE FILE TOKENS...: the bytes that the runtime says its weights, its cache and its buffers take, for
// so many tokens and caches of three types, must be those that 'nibble inspect' says. The cache and the buffers must be
// equal up to the two decimals of MiB that the log has. The weights may differ by 1 %: the runtime says how large the
// part of the file is that it maps. With --cache only the cache, as f16, and the state of recurrent layers are compared.
import {execFileSync} from "node:child_process";
import {getLlama} from "node-llama-cpp";

const cacheOnly = process.argv[2] === "--cache";
const [nibble, path, ...sizes] = process.argv.slice(cacheOnly ? 3 : 2);
const MIB = 1024 * 1024;
let log = "";
const logger = (_, message) => { log += message + "\n"; };
// What the log says of buffers of one kind, and by how much all of them together may be rounded.
const said = (kind) => {
    const mebibytes = [...log.matchAll(new RegExp(`${kind} buffer size = +([0-9.]+) MiB`, "g"))].map((m) => Number(m[1]));
    return {count: mebibytes.length, bytes: mebibytes.reduce((a, b) => a + b, 0) * MIB, rounding: mebibytes.length * 0.0051 * MIB};
};
let failed = false;
const compare = (what, theirs, ours, tolerance) => {
    const same = theirs.count > 0 && Math.abs(theirs.bytes - ours) <= tolerance;
    failed ||= !same;
    const verdict = same ? "as the runtime" : `but the runtime takes ${theirs.bytes}`;
    console.log(`memory: ${path}: ${what}: ${ours} bytes, ${verdict}`);
};
const inspect = (tokens, type) => JSON.parse(execFileSync(nibble,
    ["inspect", "--json", "--ctx", tokens, "--cache-type", type, path], {maxBuffer: 1 << 30})).memory;

// The log comes a little after what it tells of.
const logged = async (pattern) => {
    for (let i = 0; i < 250 && !pattern.test(log); i++)
        await new Promise((resolve) => setTimeout(resolve, 20));
};
// Makes a context for batches of 512 tokens, and only has it logged. The package makes some batches one token larger
// than what it is told.
const reserve = async (model, tokens, type) => {
    const wanted = Math.min(tokens, 512);
    for (const batchSize of [wanted, wanted - 1]) {
        log = "";
        const context = await model.createContext({contextSize: tokens, threads: 1, batchSize, flashAttention: "auto",
            experimentalKvCacheKeyType: type, experimentalKvCacheValueType: type});
        await logged(/reserve took/);
        await context.dispose();
        if (Number(log.match(/n_ubatch += (\d+)/)?.[1]) === wanted)
            return;
    }
    throw new Error(`no context for batches of ${wanted} tokens`);
};

const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: "debug", logger});
const model = await llama.loadModel({modelPath: path});
await logged(/model buffer size/);
const weights = said("CPU_Mapped model");
if (!cacheOnly)
    compare("weights", weights, inspect(sizes[0], "f16").tensors, 0.01 * weights.bytes);
for (const size of sizes) {
    for (const type of cacheOnly ? ["f16"] : ["f16", "q8_0", "q4_0"]) {
        await reserve(model, Number(size), type.toUpperCase());
        const ours = inspect(size, type), cache = said("KV"), buffers = said("(?:compute|output)");
        if (ours.cache > 0)
            compare(`cache of ${size} tokens in ${type}`, cache, ours.cache, cache.rounding);
        if (ours.state > 0)
            compare("state of recurrent layers", said("RS"), ours.state, said("RS").rounding);
        if (cacheOnly) {
            failed ||= !(ours.cache > 0 || ours.state > 0);
            continue;
        }
        compare(`buffers of ${size} tokens in ${type}`, buffers, ours.buffers, buffers.rounding);
        failed ||= !ours.buffers_exact;
    }
}
await model.dispose();
await llama.dispose();
process.exit(failed ? 1 : 0);
