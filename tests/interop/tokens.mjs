// tokens.mjs MODEL.gguf TEXTS: the runtime's ids for each of the texts in the file, which have a NUL
// behind each: a JSON list a line, first with the names of control tokens as plain text, then as tokens.
import {readFileSync} from "node:fs";
import {getLlama} from "node-llama-cpp";

const [path, file] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: "error"});
const model = await llama.loadModel({modelPath: path, vocabOnly: true});
const texts = readFileSync(file, "utf-8").split("\0").slice(0, -1);
for (const special of [false, true]) {
    const lines = texts.map((text) => JSON.stringify(model.tokenize(text, special)));
    process.stdout.write(lines.join("\n") + "\n");
}
await llama.dispose();
