// generate.mjs FILE THREADS TOKENS: how fast llama.cpp's runtime (node-llama-cpp, beside which this file is run) writes
// TOKENS tokens, greedily and one by one after a prompt of 8: tokens per second of time, and of CPU time. For 'generate'.
import {getLlama} from "node-llama-cpp";

const [path, threads, tokens] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: "error"});
const model = await llama.loadModel({modelPath: path});
const context = await model.createContext({contextSize: 512, threads: {ideal: Number(threads), min: Number(threads)}});
const sequence = context.getSequence();
const options = {temperature: 0, yieldEogToken: true};
let started, used, said = 0;
for await (const token of sequence.evaluate([1, 2, 3, 4, 5, 6, 7, 8], options)) {
    if (said === 1) { // the first one, with the prompt, is not counted
        started = performance.now();
        used = process.cpuUsage();
    }
    if (++said > Number(tokens))
        break;
}
const seconds = (performance.now() - started) / 1000, cpu = process.cpuUsage(used);
console.log(`${((said - 2) / seconds).toFixed(1)} ${((said - 2) / (cpu.user + cpu.system) * 1e6).toFixed(1)}`);
await context.dispose();
await model.dispose();
await llama.dispose();
process.exit(0);
