// cache.mjs NIBBLE FILE TOKENS...: the bytes that the runtime says its cache takes for so many tokens must be
// those that 'nibble inspect' says.
import {execFileSync} from "node:child_process";
import {getLlama} from "node-llama-cpp";

const [nibble, path, ...sizes] = process.argv.slice(2);
let log = "";
const logger = (_, message) => { log += message + "\n"; };
const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: "debug", logger});
const model = await llama.loadModel({modelPath: path});
let failed = false;
for (const size of sizes) {
    log = "";
    // The package makes batches one larger than what it is told.
    const context = await model.createContext({contextSize: Number(size), threads: 1, batchSize: 511});
    await context.dispose();
    const mebibytes = [...log.matchAll(/KV buffer size = +([0-9.]+) MiB/g)].map((m) => Number(m[1]));
    const theirs = mebibytes.reduce((a, b) => a + b, 0) * 1024 * 1024;
    const inspected = execFileSync(nibble, ["inspect", "--json", "--ctx", size, path], {maxBuffer: 1 << 30});
    const ours = JSON.parse(inspected).memory.cache;
    const rounding = mebibytes.length * 0.005 * 1024 * 1024; // the log has two decimals
    const same = mebibytes.length > 0 && Math.abs(theirs - ours) <= rounding;
    failed ||= !same;
    const verdict = same ? "as the runtime" : `but the runtime takes ${theirs}`;
    console.log(`cache: ${path}: ${size} tokens: ${ours} bytes, ${verdict}`);
}
await model.dispose();
await llama.dispose();
process.exit(failed ? 1 : 0);
