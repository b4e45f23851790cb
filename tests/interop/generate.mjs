// generate.mjs REFERENCE OURS...: the runtime loads each file and writes with it, greedily. The first of
// ours, the same weights as the reference's, must write the same text.
import {getLlama, LlamaCompletion} from "node-llama-cpp";

const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: "error"});

async function complete(path) {
    const model = await llama.loadModel({modelPath: path});
    const context = await model.createContext({contextSize: 256, threads: 1});
    const completion = new LlamaCompletion({contextSequence: context.getSequence()});
    const text = await completion.generateCompletion("once upon a time", {maxTokens: 48, temperature: 0});
    await context.dispose();
    await model.dispose();
    return text;
}

const [reference, ...ours] = process.argv.slice(2);
const expected = await complete(reference);
let failed = expected.trim() === "";
console.log(`generate: ${reference}: once upon a time${expected}`);
for (const [i, path] of ours.entries()) {
    const text = await complete(path);
    const wrong = text.trim() === "" || (i === 0 && text !== expected);
    failed ||= wrong;
    console.log(`generate: ${path}: ${wrong ? "DIFFERS: " + text : text === expected ? "the same text" : "loads and writes"}`);
}
await llama.dispose();
process.exit(failed ? 1 : 0);
